"""Pictures, letters and colour bars set in one SVG, with letters as large as they are on paper."""

import unicodedata
from html import escape

import numpy as np

from lookaway.report.figure import POINTS
from lookaway.report.options import Options

GAP = 8  # px
_POINTS = 7.5  # of the letters, on paper
_STEPS = 32  # of a colour bar


class Ink:
    """What is drawn so far.

    Args:
        width: of the whole, px.
        columns: of a paper that it becomes as wide as.
    """

    def __init__(self, width: float, columns: int) -> None:
        self.width = width
        self.size = _POINTS * width / POINTS[columns]
        self.line = 1.25 * self.size
        self._parts: list[str] = []

    def text(self, x: float, y: float, words: str, room: float, weight: str = "normal") -> None:
        """Write words on a line, as many as there is room for."""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{self.size:.1f}" font-weight="{weight}">'
            f"{escape(cut(words, room, self.size))}</text>"
        )

    def lines(self, x: float, y: float, words: str, room: float) -> float:
        """Write words on as many lines as they need; where the last one stands."""
        most = max(3, int(room / (0.5 * self.size)))
        line = ""
        for word in clear(words).split():
            if line and len(line) + 1 + len(word) > most:
                self.text(x, y, line, room)
                line, y = word, y + self.line
            else:
                line = f"{line} {word}".strip()
        self.text(x, y, line, room)
        return y

    def picture(
        self, x: float, y: float, source: str, title: str, size: tuple[float, float]
    ) -> None:
        """Place a picture; its title shows where a pointer rests on it."""
        self._parts.append(
            f'<image x="{x:g}" y="{y:g}" width="{size[0]:g}" height="{size[1]:g}" '
            f'href="{escape(source)}"><title>{escape(clear(title))}</title></image>'
        )

    def name(self, x: float, y: float, title: str, side: float) -> None:
        """Name a square of a picture, for a pointer that rests on it."""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{side:g}" height="{side:g}" fill="#ffffff" '
            f'fill-opacity="0"><title>{escape(clear(title))}</title></rect>'
        )

    def bar(self, x: float, y: float, options: Options) -> None:
        """The colours of heatmaps, and what their ends mean."""
        low, high = options.ends
        left, right = f"{low}: no participation", f"{high}: the highest"
        self.text(x, y, left, self.width)
        at = x + 0.5 * self.size * (len(left) + 1)
        self._parts.append(colour_bar(at, y - 0.8 * self.size, 9 * self.size, self.size, options))
        self.text(at + 9.5 * self.size, y, right, self.width)

    def svg(self, height: float) -> str:
        """The whole."""
        size = f"{self.width:g} {height + GAP:g}"
        width, high = size.split()
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{high}" '
            f'viewBox="0 0 {size}" font-family="sans-serif" fill="#222222">'
            f'<rect width="100%" height="100%" fill="white"/>{"".join(self._parts)}</svg>'
        )


def colour_bar(x: float, y: float, width: float, height: float, options: Options) -> str:
    """The colours of heatmaps from no participation to the highest, as SVG."""
    shades = options.colour_map(np.linspace(0.0, 1.0, _STEPS)[None])[0]
    step = width / _STEPS
    return "".join(
        f'<rect x="{x + place * step:.2f}" y="{y:.2f}" width="{1.05 * step:.2f}" '
        f'height="{height:.2f}" fill="#{bytes((255 * shade).round().astype(np.uint8)).hex()}"/>'
        for place, shade in enumerate(shades)
    )


def clear(words: str) -> str:
    """Words on one line, without what turns or hides letters."""
    return "".join(
        letter for letter in " ".join(words.split()) if unicodedata.category(letter)[0] != "C"
    )


def cut(words: str, room: float, size: float) -> str:
    """As many letters as there is room for, without what turns or hides letters."""
    plain = clear(words)
    most = max(3, int(room / (0.5 * size)))
    return plain if len(plain) <= most else plain[: most - 1] + "…"

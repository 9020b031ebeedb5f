"""One figure: for the page and notebooks, and in the formats and widths of a paper."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import vl_convert
from altair.utils.schemapi import debug_mode

from lookaway.errors import InputError
from lookaway.places import AnyPath, to_path
from lookaway.report.described import described
from lookaway.report.options import POINTS, Options
from lookaway.report.panels import saved

if TYPE_CHECKING:
    import matplotlib.figure

FORMATS = ("pdf", "svg", "png")
_DPI = 300
# Points for each px of a chart: letters are of one size, whatever the number of panels.
_SCALE = 2 / 3


@dataclass(frozen=True)
class Figure:
    """A figure that knows how wide it is on paper.

    In a notebook it shows itself; ``save`` writes it.

    Attributes:
        name: of its files.
        title: what it shows.
        note: how to read it, in a sentence.
        columns: of a paper that it is as wide as: 1 (252 pt) or 2 (516 pt).
        policy: the explained class, where it has one.
        method: whose heatmaps it is about, where it is about any.
        attack: the one that it is about, where it is about one alone.
        kind: what it is one of, such as ``mod``.
        spec: a Vega-Lite specification with its data inside; None where it has image panels.
        panels: matplotlib's figure of image panels; None where it is a chart.
        paper: which of the paper's it corresponds to, such as ``Fig. 1``; empty: none.
    """

    name: str
    title: str
    note: str
    columns: int
    policy: str | None = None
    method: str = ""
    attack: str = ""
    kind: str = ""
    spec: Mapping[str, Any] | None = None
    panels: "matplotlib.figure.Figure | None" = None
    paper: str = ""

    def svg(self) -> str:
        """The figure as SVG, as wide as its columns."""
        if self.panels is None:
            return self._sized("pt")
        whole = saved(self.panels, "svg").decode()
        return whole[whole.index("<svg") :]  # without a prolog, so that it may stand in a page

    def pdf(self) -> bytes:
        """The figure as PDF, as wide as its columns, its letters as letters."""
        if self.panels is not None:
            return saved(self.panels, "pdf")
        found: bytes = vl_convert.svg_to_pdf(self._sized())
        return found

    def png(self) -> bytes:
        """The figure as PNG, as wide as its columns at 300 dots per inch."""
        if self.panels is not None:
            return saved(self.panels, "png")
        found: bytes = vl_convert.svg_to_png(self._sized(), scale=_DPI / 72)
        return found

    def content(self, kind: str) -> bytes:
        """The figure in one of ``FORMATS``.

        Raises:
            InputError: there is no such format.
        """
        made = {"svg": lambda: self.svg().encode(), "pdf": self.pdf, "png": self.png}
        if kind not in made:
            raise InputError(f"got the format {kind!r}; possible: {', '.join(FORMATS)}")
        return made[kind]()

    def save(self, path: str | AnyPath) -> AnyPath:
        """Write the figure; the name's ending says the format.

        Raises:
            InputError: the ending is not one of ``FORMATS``.
        """
        path = to_path(path)
        content = self.content(path.suffix.lower().lstrip("."))
        path.write_bytes(content)
        return path

    def said(self) -> str:
        """What a chart shows, in a sentence with its numbers."""
        return described(self.spec or {})

    def _sized(self, unit: str = "") -> str:
        """The chart as SVG, as wide as its columns, by the width and height in its first tag."""
        drawn = _drawn(self.spec or {})
        head, _, rest = drawn.partition(">")
        sides = ET.fromstring(f"{head}/>").attrib  # noqa: S314  our own
        width, height = float(sides["width"]), float(sides["height"])
        wide = max(width, POINTS[self.columns] / _SCALE)  # a narrow one has room at its right
        scale = POINTS[self.columns] / wide
        attributes = {
            "width": f"{POINTS[self.columns]:g}{unit}",
            "height": f"{scale * height:g}{unit}",
            "viewBox": f"0 0 {wide:g} {height:g}",
        }
        for name, value in attributes.items():
            head = head.replace(f'{name}="{sides[name]}"', f'{name}="{value}"', 1)
        ground = f'<rect width="{sides["width"]}"', f'<rect width="{wide:g}"'
        return f"{head}>{rest.replace(*ground, 1)}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle = {"text/plain": f"Figure({self.name!r}: {self.title})", "image/svg+xml": self.svg()}
        if self.spec is None:
            return bundle
        return bundle | {"application/vnd.vegalite.v6+json": dict(self.spec)}


@dataclass(frozen=True)
class Planned:
    """A figure that a run has, made when it is asked for.

    Attributes:
        kind: what it is one of; this and the rest as ``Figure`` has them.
        draw: gives its note, and a specification or image panels.
    """

    kind: str
    name: str
    title: str
    draw: Callable[[Options], tuple[str, Any]]
    policy: str | None = None
    method: str = ""
    attack: str = ""
    paper: str = ""

    def make(self, options: Options) -> Figure:
        """The figure."""
        with debug_mode(False):  # Altair checks every part of a chart at every step
            note, drawn = self.draw(options)
        spec, panels = (drawn, None) if isinstance(drawn, Mapping) else (None, drawn)
        about = self.policy, self.method, self.attack, self.kind
        return Figure(
            self.name, self.title, note, options.columns, *about, spec, panels, self.paper
        )


def _drawn(spec: Mapping[str, Any]) -> str:
    """The chart as SVG, by Vega.

    A label that is too long is cut between two halves of a letter beyond U+FFFF, which the
    converter does not survive: while it draws, each of these is a private one of a single half.
    """
    text = json.dumps(spec, ensure_ascii=False)
    beyond = sorted({letter for letter in text if ord(letter) > 0xFFFF})
    free = (chr(code) for code in range(0xE000, 0xF900) if chr(code) not in text)
    private = dict(zip(beyond, free, strict=False))
    for letter, stand_in in private.items():
        text = text.replace(letter, stand_in)
    drawn: str = vl_convert.vegalite_to_svg(text)
    for letter, stand_in in private.items():
        drawn = drawn.replace(stand_in, letter)
    return drawn

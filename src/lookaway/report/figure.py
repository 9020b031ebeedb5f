"""One figure: for the page and notebooks, and in the formats and widths of a paper."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import vl_convert

from lookaway.errors import InputError
from lookaway.places import AnyPath, to_path

FORMATS = ("pdf", "svg", "png")
POINTS = {1: 252, 2: 516}  # width of one column and of two, as IEEE and CVF have them
_DPI = 300


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
        spec: a Vega-Lite specification with its data inside; None where it is a picture.
        picture: SVG; None where it is a chart.
        paper: which of the paper's it corresponds to, such as ``Fig. 1``; empty: none.
    """

    name: str
    title: str
    note: str
    columns: int
    policy: str | None = None
    spec: Mapping[str, Any] | None = None
    picture: str | None = None
    paper: str = ""

    def svg(self) -> str:
        """The figure as SVG, as wide as its columns."""
        drawn = self.picture
        if drawn is None:
            drawn = vl_convert.vegalite_to_svg(dict(self.spec or {}))
        return self._sized(drawn, "pt")

    def pdf(self) -> bytes:
        """The figure as PDF, as wide as its columns, its letters as letters."""
        found: bytes = vl_convert.svg_to_pdf(self._sized(self.svg()))
        return found

    def png(self) -> bytes:
        """The figure as PNG, as wide as its columns at 300 dots per inch."""
        found: bytes = vl_convert.svg_to_png(self._sized(self.svg()), scale=_DPI / 72)
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

    def _sized(self, svg: str, unit: str = "") -> str:
        """The same picture, as wide as the columns."""
        head = svg[: svg.index(">") + 1]
        box = [float(found) for found in re.search(r'viewBox="([^"]*)"', head)[1].split()]  # type: ignore[index]
        width = POINTS[self.columns]
        height = width * box[3] / box[2]
        for side, points in (("width", float(width)), ("height", height)):
            head = re.sub(rf'\b{side}="[^"]*"', f'{side}="{points:g}{unit}"', head, count=1)
        return head + svg[svg.index(">") + 1 :]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle = {"text/plain": f"Figure({self.name!r}: {self.title})", "image/svg+xml": self.svg()}
        if self.spec is None:
            return bundle
        return bundle | {"application/vnd.vegalite.v6+json": dict(self.spec)}

"""A chart's SVG, small enough to stand in the page: as it is printed, and shown without scripts."""

import re

from markupsafe import Markup

from lookaway.report.layout import FONT

_NEEDLESS = re.compile(
    r' (?:class|role|aria-[a-z]+|pointer-events|xmlns:xlink|version)="[^"]*"'
    rf'| font-family="{re.escape(FONT)}"| opacity="1"| transform="translate\(0,0\)"'
)
_EMPTY = re.compile(r'<path d="(?:M0,0h0v0h0Z)?"(?: display="none")?/>|<g></g>')
_PLACES = re.compile(r' (?:d|transform|[xy]2?)="[^"]*"')
_LONG = re.compile(r"\d+\.\d{2,}")
_TEXT = re.compile(r">([^<]*)<")


def static(svg: str) -> Markup:
    """A data URI of the chart, safe within double quotes.

    Letters are not laid out again, so places keep a tenth of a px; what scripts and screen readers
    would need is left out.
    """
    small = _TEXT.sub(lambda found: found[0].replace('"', "&quot;"), svg)
    small = _NEEDLESS.sub("", small)
    small = _PLACES.sub(
        lambda found: _LONG.sub(lambda one: f"{float(one[0]):.1f}", found[0]), small
    )
    before = ""
    while before != small:
        before, small = small, _EMPTY.sub("", small)
    small = small.replace("<svg ", f'<svg font-family="{FONT}" ', 1)
    for letter, code in (("%", "%25"), ("#", "%23"), ("&", "&amp;"), ("'", "%27")):
        small = small.replace(letter, code)
    uri = "data:image/svg+xml;charset=utf-8," + small.replace('"', "'")
    return Markup(uri)  # noqa: S704  no double quote is left, and no ampersand alone

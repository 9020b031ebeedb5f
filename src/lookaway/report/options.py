"""How a figure is to be drawn."""

from dataclasses import dataclass

from lookaway.errors import InputError

POINTS = {1: 252, 2: 516}  # width of one column and of two, as IEEE and CVF have them
# Colour maps of heatmaps, and what their ends are called.
COLOURS = {"turbo": ("blue", "red"), "viridis": ("violet", "yellow")}
ORDERS = ("last-first", "first-last")
HEATMAPS = ("overlaid", "raw")


@dataclass(frozen=True)
class Options:
    """How a figure is to be drawn.

    Attributes:
        columns: of a paper that it is to be as wide as: 1 or 2.
        image: of figures of one image, its name; None: one that the figure chooses.
        colours: of heatmaps: ``turbo`` or ``viridis``.
        heatmaps: ``overlaid`` on the image or ``raw``.
        order: of all layers of a model: ``last-first``, the last one top left and the first one
            bottom right, as the paper reads them, or ``first-last``.

    Raises:
        InputError: an option is none of those.
    """

    columns: int = 2
    image: str | None = None
    colours: str = "turbo"
    heatmaps: str = "overlaid"
    order: str = "last-first"

    def __post_init__(self) -> None:
        if self.columns not in POINTS:
            raise InputError(f"columns must be 1 or 2; got {self.columns!r}")
        for name, possible in (
            ("colours", tuple(COLOURS)),
            ("heatmaps", HEATMAPS),
            ("order", ORDERS),
        ):
            if getattr(self, name) not in possible:
                raise InputError(
                    f"got {name} {getattr(self, name)!r}; possible: {', '.join(possible)}"
                )

"""One part of what a run shows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Conclusion:
    """One part of what a run shows.

    Attributes:
        title: its heading.
        opening: what holds for all models.
        table: the name of the table that shows it.
        models: a model's name and what holds for it.
        closing: what follows; may be empty.
    """

    title: str
    opening: str
    table: str
    models: tuple[tuple[str, str], ...] = ()
    closing: str = ""

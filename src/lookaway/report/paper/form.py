"""The form of the paper's tables: every model under one source's perturbations."""

from dataclasses import dataclass

import polars as pl

from lookaway.analysis.families import families
from lookaway.analysis.frames import Frames
from lookaway.report.wording import isolated

UNPREPARED = "none"  # the variant of images that are used as they are


@dataclass(frozen=True)
class PaperForm:
    """What the paper's tables and figures are about.

    Attributes:
        attack: the study's first one.
        source: whose perturbations all models meet: the study's first source; None where it has
            none, and each model meets its own.
        variant: of the images.
        policy: the explained class.
        families: each model's mark: deep, wide or None.
    """

    attack: str
    source: str | None
    variant: str
    policy: str
    families: dict[str, str | None]

    @property
    def perturbed(self) -> pl.Expr:
        """Which rows are about these perturbations, of any variant."""
        maker = pl.col("model") if self.source is None else pl.lit(self.source)
        return (pl.col("attack") == self.attack) & (pl.col("source") == maker)

    @property
    def rows(self) -> pl.Expr:
        """Which rows are about these perturbations and this variant."""
        return self.perturbed & (pl.col("variant") == self.variant)

    @property
    def explained(self) -> pl.Expr:
        """Which of those are about this explained class, dead maps counted."""
        return (pl.col("explained_class") == self.policy) & (pl.col("pairs") == "all")

    @property
    def whose(self) -> str:
        """Whose perturbations they are, for a title."""
        if self.source is None:
            return f"each model under its own {self.attack.upper()} (white-box)"
        return f"under {self.attack.upper()} from {isolated(self.source)}"

    def maker(self, model: str) -> str:
        """Who made the perturbations that a model meets."""
        return self.source or model

    def marked(self, model: str) -> str:
        """A model's name; the source's own row is white-box, and says so."""
        return f"{model} (white-box)" if model == self.source else model

    def described(self, model: str) -> str:
        """A model's name with all its marks."""
        marks = [self.families[model], "white-box" if model == self.source else None]
        told = ", ".join(mark for mark in marks if mark)
        return f"{model} ({told})" if told else model


def paper_form(frames: Frames, variant: str | None = None) -> PaperForm:
    """What the paper's tables and figures are about, in this run.

    Args:
        frames: of a run.
        variant: of the images; None: the first prepared one, as the paper's Table 3 and figures
            most likely are, else the unprepared.

    Returns:
        With ``own`` as the explained class where the study has it, as the paper most likely did.
    """
    prepared = [name for name in frames.variants if name != UNPREPARED]
    return PaperForm(
        attack=frames.attack,
        source=next(iter(frames.sources), None),
        variant=variant or (prepared or frames.variants)[0],
        policy="own" if "own" in frames.policies else frames.policy,
        families=families(frames.plan),
    )

"""A cell to be done, and what it is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lookaway.perturbation import Perturbation, Source
from lookaway.study.keys import CellKey, ModelKey
from lookaway.study.parts import Part
from lookaway.study.settings import ModelSpec

Given = Mapping[Source, Perturbation]  # other models' perturbations of a cell's images


@dataclass(frozen=True)
class Job:
    """A cell to be done.

    Attributes:
        spec: its model.
        key: which cell.
        images: their places among the variant's test images.
        parts: what of it is missing.
        weights: the hash of the model's trained weights; empty for one that is not trained.
        perturbs_only: whether only the perturbations of its own attacks are wanted.
    """

    spec: ModelSpec
    key: CellKey
    images: Sequence[int]
    parts: tuple[Part, ...] = ()
    weights: str = ""
    perturbs_only: bool = False

    @property
    def model(self) -> ModelKey:
        """Its model."""
        return self.key.of_model

    def of(self, parts: tuple[Part, ...], weights: str) -> "Job":
        """The same, for some parts, with the hash of trained weights."""
        return replace(self, parts=parts, weights=weights)

    def only_perturbing(self) -> "Job":
        """The same, for its perturbations alone."""
        return replace(self, perturbs_only=True)

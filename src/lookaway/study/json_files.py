"""What a run's JSON files hold: its plan, its trained models, its drift and its manifest."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lookaway.data.duplicates import Duplicates
from lookaway.models.provenance import Epoch, Origin
from lookaway.perturbation import NOISE, Source, own_size_noise
from lookaway.study.parts import Part
from lookaway.study.settings import Study, settings_that_change_results

LAYOUT = 7  # the version of a run's folder


class JsonFile(BaseModel):
    """A JSON file of a run, or a section of one: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ImageList(JsonFile):
    """How many images a part has, and the SHA-256 of their names, labels and contents."""

    count: Annotated[int, Field(ge=0)]
    sha256: str


class PartImages(JsonFile):
    """The images of each part."""

    train: ImageList
    val: ImageList
    test: ImageList


class VariantPlan(JsonFile):
    """How a variant's images are made, in how many no face was found, and its images by part."""

    aligner: dict[str, Any]
    without_face: int
    images: PartImages


class OutputOrder(JsonFile):
    """The outputs that a network keeps, in order: the study's classes, then the named others."""

    logits: list[int]
    others: list[str]


class Loading(JsonFile):
    """Where a model's weights and the order of its classes come from; None: neither is given."""

    checkpoint: Origin | None = None
    classes: str | None = None


class Plan(JsonFile):
    """Everything that changes a run's results: ``plan.json``.

    Attributes:
        layout: the version of the run's folder.
        settings: the study, whole.
        norm: what ε measures: ``linf``, the largest change of a pixel; ``l2``, an image's length.
        own_size: the attacks that have a noise control of their own size.
        one_direction: the attacks whose direction serves every ε.
        gradient_free: the attacks that know no gradient.
        device: where its models work.
        shard: the most test images in a cell.
        versions: of what makes the numbers, by package.
        own_code: of each of the user's own modules that is named; see ``own_code``.
        classes: names, sorted.
        images: of each part.
        variants: by name, in the study's order.
        duplicates: under ``across_parts`` and ``across_classes``.
        set_aside: files that were not used, and why.
        batch_sizes: by model, as all that follows.
        weights: SHA-256 before training.
        class_order: of models that are only loaded, where something says it.
        loaded: what was taken of checkpoints.
        layers: the explained ones, without the last where it is not asked for.
        last_layers: the last one with a map.
        last_sizes: [height, width] of its map, px.
        unfolded: the explained layers whose batch norm stays apart, for an explainer needs them as
            they are; of models that have some.
        layouts: how maps lie in explained layers that do not give (N, C, h, w); mostly none.
        aims: of attacks, by name: cross_entropy, dodging or impersonation (see ``Attack.aim``).
        training_precision: of networks trained whole.
    """

    layout: int
    settings: Study
    norm: str
    own_size: list[str]
    one_direction: list[str] = Field(default_factory=list)
    gradient_free: list[str]
    device: str
    shard: Annotated[int, Field(ge=1)]
    versions: dict[str, str]
    own_code: dict[str, str]
    classes: list[str]
    images: PartImages
    variants: dict[str, VariantPlan]
    duplicates: dict[str, Duplicates]
    set_aside: dict[str, str]
    batch_sizes: dict[str, int]
    weights: dict[str, str]
    class_order: dict[str, OutputOrder]
    loaded: dict[str, Loading]
    layers: dict[str, list[str]]
    last_layers: dict[str, str]
    last_sizes: dict[str, Annotated[list[int], Field(min_length=2, max_length=2)]]
    unfolded: dict[str, list[str]] = Field(default_factory=dict)
    layouts: dict[str, dict[str, str]] = Field(default_factory=dict)
    aims: dict[str, str] = Field(default_factory=dict)
    training_precision: str

    @field_validator("layout")
    @classmethod
    def _this_version_s(cls, value: int) -> int:
        if value != LAYOUT:
            raise ValueError(f"got {value}; this version of lookaway reads layout {LAYOUT}")
        return value

    @model_validator(mode="after")
    def _nothing_is_missing(self) -> Self:
        of_models = ("batch_sizes", "weights", "layers", "last_layers", "last_sizes")
        needed: Mapping[str, Sequence[str]] = {
            **dict.fromkeys(of_models, self.models),
            "variants": self.settings.data.variants,
        }
        for name, all_of in needed.items():
            if missing := [each for each in all_of if each not in getattr(self, name)]:
                raise ValueError(f"{name} says nothing of {', '.join(missing)}")
        return self

    def results(self) -> dict[str, Any]:
        """What of it changes results, as plain data.

        Files that were not used change none, nor how weights lay in their file.
        """
        kept = self.model_dump(mode="json", exclude={"settings", "set_aside", "loaded"})
        return {"settings": settings_that_change_results(self.settings), **kept}

    @property
    def models(self) -> list[str]:
        """The models' names, in the study's order."""
        return [spec.name for spec in self.settings.models]

    @property
    def attacks(self) -> list[str]:
        """The attacks' names, in the study's order."""
        return [attack.name for attack in self.settings.attacks]

    @property
    def methods(self) -> list[str]:
        """The explainers' names, in the study's order."""
        return [method.name for method in self.settings.explain.methods]

    @property
    def controls(self) -> list[str]:
        """The names of the noise controls."""
        sources = [None, *self.settings.transfer_from]
        own = [own_size_noise(attack, source) for attack in self.own_size for source in sources]
        return [NOISE, *own]

    @property
    def shaped_controls(self) -> list[str]:
        """The names of the controls with the attacks' own shape."""
        counts = self.settings.controls.counts
        return counts.names(self.attacks, self.settings.transfer_from)

    def met(self, model: str) -> list[Source]:
        """The perturbations that a model's images are measured under, in the order of rows.

        Without the controls with the attacks' own shape.
        """
        others = [name for name in self.models if name in self.settings.transfer_from]
        others = [name for name in others if name != model]
        made = [(attack, source) for attack in self.attacks for source in (model, *others)]
        own_size = [
            (own_size_noise(attack, None if source == model else source), None)
            for attack, source in made
            if attack in self.own_size
        ]
        return [*made, (NOISE, None), *own_size]

    def perturbing(self, part: Part) -> list[str]:
        """The attacks that a part of a cell runs, in the study's order; for noise alone, one."""
        of: set[str | None] = {name for name, source in part.met if source is not None}
        told = {*part.shaped, *(name for name, source in part.met if source is None)}
        for attack in self.attacks:
            for source in (None, *self.settings.transfer_from):
                controls = self.settings.controls.counts.of(attack, source)
                made = {own_size_noise(attack, source), *(each.name for each in controls)}
                of |= {attack} if made & told else set()
        return [attack for attack in self.attacks if attack in of] or self.attacks[:1]

    def shaped_met(self, model: str) -> list[str]:
        """The controls with the attacks' own shape of a model, in the order of rows."""
        others = [name for name in self.settings.transfer_from if name != model]
        return self.settings.controls.counts.names(self.attacks, others)

    @property
    def common(self) -> tuple[int, int]:
        """Height and width that the maps of all models' last layers can be brought to."""
        sizes = self.last_sizes.values()
        return min(height for height, _ in sizes), min(width for _, width in sizes)

    def explained_layers(self, model: str) -> list[str]:
        """All explained layers of a model, from the first to the last, each once."""
        return list(dict.fromkeys([*self.layers[model], self.last_layers[model]]))

    def other_classes(self, model: str) -> list[str]:
        """Names of a model's logits behind those of the study's classes; mostly none."""
        return self.class_order[model].others if model in self.class_order else []

    def predicted_classes(self) -> list[str]:
        """The names that predictions may have: the study's classes, then those networks keep."""
        others = [name for order in self.class_order.values() for name in order.others]
        return list(dict.fromkeys([*self.classes, *others]))


FALL = 0.2  # of robust accuracy, at which Wong et al. (2020) stop a training; see ``overfitted``


class TrainedModel(JsonFile):
    """How a model was trained on a variant of the images; beside its weights in ``heads``.

    Attributes:
        trained: which layers: head, fully_connected or all; enrol: none, but templates were made.
        best_epoch: the one whose weights are kept, from 1; 0 where none was trained.
        sha256: of the file of these weights or templates.
    """

    model: str
    variant: str
    trained: str
    best_epoch: int
    sha256: str
    history: list[Epoch]

    @model_validator(mode="after")
    def _best_is_an_epoch(self) -> Self:
        if not bool(self.history) <= self.best_epoch <= len(self.history):
            raise ValueError("best_epoch is none of history's")
        return self

    @property
    def val_accuracy(self) -> float | None:
        """Accuracy on the validation images, 0 to 1, in the best epoch; None: none was trained."""
        return self.history[self.best_epoch - 1].val_accuracy if self.history else None

    @property
    def robust_accuracy(self) -> float | None:
        """That under PGD, in the best epoch; None: it was not trained adversarially."""
        return self.history[self.best_epoch - 1].robust_accuracy if self.history else None

    @property
    def overfitted(self) -> Epoch | None:
        """Catastrophic overfitting: the first checked epoch at which it was seen; None: at none.

        On the validation images the network is right under the attack that it was trained with by
        more than ``FALL`` more than under PGD: it learnt to defeat that one alone (E. Wong, L. Rice
        and J. Z. Kolter, Fast is better than free, 2020).
        """
        for epoch in self.history:
            met, robust = epoch.met_accuracy, epoch.robust_accuracy
            if met is not None and robust is not None and met - robust > FALL:
                return epoch
        return None


class Drift(JsonFile):
    """How far a model is from float32; see ``drift.drift``.

    ``images``: how many were measured; ``weights``: SHA-256 of the trained ones, or empty.
    """

    model: str
    variant: str
    weights: str
    images: int
    mod: float
    largest: float
    classes: float
    heatmaps: float


class Manifest(Plan):
    """Written last of all: what the finished run was made of, with its trainings and rows.

    ``trained``: by model and variant; ``dead_pairs``: rows in which a map is dead.
    """

    trained: dict[str, TrainedModel]
    rows: int
    dead_pairs: int

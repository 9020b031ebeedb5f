"""How a study's networks are trained: on images as they are, or on attacked ones."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from lookaway.study.fields import (
    MOST,
    Fraction,
    LearningRate,
    Number,
    Seed,
    Settings,
    level,
    mended,
    unique,
)

if TYPE_CHECKING:
    from lookaway.attacks.adversarial import AdversarialTraining

_Count = Annotated[int, Field(ge=1, le=MOST)]


class Adversarial(Settings):
    """What takes the place of the images that a network learns from.

    See ``attacks.adversarial.AdversarialTraining``, whose arguments these are.
    """

    attack: Literal["fgsm", "pgd"] = "fgsm"
    epsilon: Annotated[float, BeforeValidator(level)]
    norm: Literal["linf", "l2"] = "linf"
    steps: _Count | None = None
    rel_stepsize: Number | None = None
    random_start: bool = True
    clean: Fraction = 0.0
    check_every: _Count = 5
    check_steps: _Count = 10

    @model_validator(mode="after")
    def _possible(self, info: ValidationInfo) -> Self:
        mended("", self.make, info)
        return self

    def make(self) -> "AdversarialTraining":
        """Who attacks the images."""
        from lookaway.attacks.adversarial import AdversarialTraining

        return AdversarialTraining(**dict(self))


class Training(Settings):
    """How heads and networks are trained.

    A model may have epochs, a rate and an adversary of its own. ``precision`` is that of networks
    trained whole: auto is bfloat16 where the processor has it. Heads are always trained in float32.
    ``adversarial``: None: on the images as they are. ``seeds``: each network is trained once with
    each, as a model of its own.
    """

    epochs: _Count = 60
    batch_size: _Count = 32
    learning_rate: LearningRate = 0.001
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    adversarial: Adversarial | None = None
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=100), AfterValidator(unique)] = [0]

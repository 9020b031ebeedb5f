"""What a run is of: its models, attacks, levels and explained classes, as its plan has them."""

from lookaway.analysis import comparisons
from lookaway.perturbation import NOISE, own_size_noise
from lookaway.study.json_files import Plan
from lookaway.study.settings import Study


class Described:
    """A run's plan, as summaries and sentences ask for it.

    Attributes:
        method: the explainer whose heatmaps sentences and figures are about.
        attack: the one that sentences, and figures of one attack, are about.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.method, self.attack = plan.methods[0], plan.attacks[0]

    @property
    def attacks(self) -> list[str]:
        """The names of the study's attacks, in its order."""
        return self.plan.attacks

    @property
    def control(self) -> str:
        """The name of the noise control of its attack, in white-box."""
        return own_size_noise(self.attack) if self.attack in self.plan.own_size else NOISE

    @property
    def shifted(self) -> bool:
        """Whether its attacks are held against their own change in other places, too."""
        return self.settings.controls.shifted > 0

    @property
    def methods(self) -> list[str]:
        """The names of the study's explainers, in its order."""
        return self.plan.methods

    @property
    def policies(self) -> list[str]:
        """The explained classes of the study, in its order."""
        return list(self.settings.explain.explained_class)

    @property
    def policy(self) -> str:
        """The explained class of the headlines: the clean image's where the study has it.

        Under ``own`` an attack that flips the prediction changes what is explained, too.
        """
        return "clean" if "clean" in self.policies else self.policies[0]

    @property
    def ordered_policies(self) -> list[str]:
        """The explained classes, that of the headlines first."""
        return sorted(self.policies, key=lambda policy: policy != self.policy)

    @property
    def models(self) -> list[str]:
        """The names of the models, in the study's order."""
        return self.plan.models

    @property
    def sources(self) -> list[str]:
        """The models whose perturbations all models get, in the study's order."""
        return list(self.settings.transfer_from)

    @property
    def variants(self) -> list[str]:
        """The ways in which the images were prepared, in the study's order."""
        return list(self.settings.data.variants)

    @property
    def epsilons(self) -> list[float]:
        """The ε of the study, in its order; pixels are in [0, 1]."""
        return [float(epsilon) for epsilon in self.settings.epsilons]

    @property
    def settings(self) -> Study:
        """The study's settings, as its plan holds them."""
        return self.plan.settings

    @property
    def top(self) -> float:
        """The study's largest ε."""
        return max(self.epsilons)

    @property
    def several_layers(self) -> bool:
        """Whether a model is explained at more than its last layer."""
        return any(len(self.plan.explained_layers(model)) > 1 for model in self.models)

    @property
    def several_variants(self) -> bool:
        """Whether the images were prepared in more than one way."""
        return len(self.variants) > 1

    @property
    def galleries(self) -> list[str]:
        """The models whose people are enrolled."""
        return comparisons.galleries(self.plan)

    @property
    def aligned(self) -> bool:
        """Whether faces are aligned in a variant, so that places on them mean the same."""
        return any(about.aligner for about in self.plan.variants.values())

"""Names, numbers and what is shown, as sentences have them."""

import unicodedata
from collections.abc import Sequence

from lookaway.analysis.frames import Frames
from lookaway.report.table import Cell
from lookaway.study.keys import stems
from lookaway.study.settings import Adversarial, Study
from lookaway.written import percent, signed

_EXPLAINERS = {  # by the names of the literature; others by their own
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "hirescam": "HiResCAM",
    "xgradcam": "XGrad-CAM",
    "layercam": "LayerCAM",
    "eigencam": "Eigen-CAM",
}

AIMED = (
    "each image's dissimilarity under attack less that under the attack's own change of this image "
    "moved to other places at random (shifted), averaged."
)

ONE_TRAINING = (
    "Each model is one trained network: what is said holds for it, not for its architecture, of "
    "which another training can differ by more than the intervals tell."
)
# What the shuffled baseline is, by class policy.
_SHUFFLED = (
    "Shuffled baseline: the mean dissimilarity of the clean heatmaps of two different images"
)
BASELINE = {
    "own": f"{_SHUFFLED}, of different classes where nothing is said, each for its own class.",
    "clean": (
        f"{_SHUFFLED}, of different classes where nothing is said, both for the class predicted "
        "for the first, because under attack the class is held fixed too."
    ),
    "label": (
        f"{_SHUFFLED}, of different classes where nothing is said, both for the true class of the "
        "first."
    ),
}


def with_interval(cell: Cell, *, sign: bool = False) -> str:
    """A number and, where it has one, its 95 % interval."""
    numbers = [cell.value, cell.low, cell.high]
    value, low, high = ["" if x is None else signed(x) if sign else f"{x:.3f}" for x in numbers]
    return f"{value} (95 % interval {low} to {high})" if low else value


def listed(names: Sequence[str]) -> str:
    """Names as in a sentence."""
    alone = [isolated(name) for name in names]
    return alone[0] if len(alone) == 1 else f"{', '.join(alone[:-1])} and {alone[-1]}"


def trained(names: Sequence[str]) -> str:
    """The same, as what was measured: trained networks, not architectures."""
    return f"the trained network{'s' if len(names) > 1 else ''} {listed(names)}"


def isolated(name: str) -> str:
    """A name that turns no letters around it: isolated where it holds any that run leftwards."""
    turning = {"R", "AL", "AN", "RLE", "RLO", "LRE", "LRO", "RLI", "LRI", "FSI", "PDF", "PDI"}
    if any(unicodedata.bidirectional(letter) in turning for letter in name):
        return f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}"
    return name


def first_attack(frames: Frames) -> str:
    """That only one of the study's attacks is shown; empty where it has no other."""
    others = [name.upper() for name in frames.attacks if name != frames.attack]
    if not others:
        return ""
    attack = "attack" if len(others) == 1 else "attacks"
    shown = f"Shown: {frames.attack.upper()}; the study's other {attack}, {listed(others)}"
    return f"{shown}, in the tables."


def whose_noise(frames: Frames, attacks: Sequence[str]) -> str:
    """Which attacks are held against noise of their own size; empty where none is."""
    own = [name.upper() for name in attacks if name in frames.plan.own_size]
    if not own:
        return ""
    return f"Noise beside {listed(own)}: its own change, pixel by pixel, under random signs."


def adversaries(study: Study) -> dict[str, str]:
    """The attack whose images each adversarially trained model learnt from, by its name."""
    found = {spec.name: study.adversarial(spec) for spec in study.models}
    return {model: _adversary(attack) for model, attack in found.items() if attack is not None}


def _adversary(attack: Adversarial) -> str:
    name = attack.attack.upper()
    text = f"{name} at ε = {attack.epsilon:.3g}{' (L2)' if attack.norm == 'l2' else ''}"
    return f"{text}, {percent(attack.clean)} of them clean" if attack.clean else text


def explainer(name: str) -> str:
    """What a method is called."""
    return _EXPLAINERS.get(name, name)


def of_method(frames: Frames) -> str:
    """Whose heatmaps they are, behind a title; empty where the study has one method."""
    return f", method: {explainer(frames.method)}" if len(frames.methods) > 1 else ""


def method_ending(frames: Frames) -> str:
    """The same behind the name of a file."""
    return f"_{stems(frames.methods)[frames.method]}" if len(frames.methods) > 1 else ""


def attack_ending(frames: Frames) -> str:
    """Whose perturbations they are, behind the name of a file; empty where there is one attack."""
    return f"_{stems(frames.attacks)[frames.attack]}" if len(frames.attacks) > 1 else ""


def first_method(frames: Frames) -> str:
    """That only heatmaps of one method are shown; empty where the study has no other."""
    others = [explainer(name) for name in frames.methods if name != frames.method]
    if not others:
        return ""
    return f"Heatmaps: {explainer(frames.method)}; those of {listed(others)} in the tables."


def first_images(frames: Frames) -> str:
    """That only images of the study's first variant are shown; empty where it has no other."""
    first, *others = frames.variants
    return f"Images: {first}; those of {listed(others)} in the tables." if others else ""

"""lookaway measures how an adversarial attack makes an image classifier look elsewhere.

The names below are loaded when they are first used, so that ``import lookaway`` is quick and
reading a stored result needs no PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lookaway.attacks.fgsm import FGSM
    from lookaway.attacks.libraries import from_foolbox, from_torchattacks
    from lookaway.attacks.mifgsm import MIFGSM
    from lookaway.attacks.noise import SignNoise
    from lookaway.attacks.pgd import PGD
    from lookaway.errors import LookawayError
    from lookaway.explainers.attributions import from_captum
    from lookaway.explainers.base import Explanation, heatmap
    from lookaway.explainers.eigencam import EigenCAM
    from lookaway.explainers.gradcam import GradCAM
    from lookaway.explainers.gradcam_plus_plus import GradCAMPlusPlus
    from lookaway.explainers.hirescam import HiResCAM
    from lookaway.explainers.layercam import LayerCAM
    from lookaway.explainers.similarity import SimilarityMaps, similarity_map
    from lookaway.explainers.xgradcam import XGradCAM
    from lookaway.explanation_attack import ExplanationAttack
    from lookaway.measurement import Measurement, measure
    from lookaway.metrics.dissimilarity import nissim, psnr
    from lookaway.metrics.ssim import ssim
    from lookaway.metrics.transport import log_mass_ratio, sliced_wasserstein
    from lookaway.models.classifier import Classifier
    from lookaway.models.gallery import Embedder, Gallery, load_embedder
    from lookaway.models.zoo import load_classifier
    from lookaway.monitor import ShiftMonitor
    from lookaway.reading import ShiftReading
    from lookaway.report.overlays import overlay
    from lookaway.result import Result, open_result
    from lookaway.run import run_study
    from lookaway.verification import verify, verify_pairs

__version__ = "0.1.0"

_HOMES = {
    "FGSM": "lookaway.attacks.fgsm",
    "from_foolbox": "lookaway.attacks.libraries",
    "from_torchattacks": "lookaway.attacks.libraries",
    "MIFGSM": "lookaway.attacks.mifgsm",
    "PGD": "lookaway.attacks.pgd",
    "SignNoise": "lookaway.attacks.noise",
    "LookawayError": "lookaway.errors",
    "from_captum": "lookaway.explainers.attributions",
    "Explanation": "lookaway.explainers.base",
    "ExplanationAttack": "lookaway.explanation_attack",
    "heatmap": "lookaway.explainers.base",
    "GradCAM": "lookaway.explainers.gradcam",
    "EigenCAM": "lookaway.explainers.eigencam",
    "GradCAMPlusPlus": "lookaway.explainers.gradcam_plus_plus",
    "HiResCAM": "lookaway.explainers.hirescam",
    "LayerCAM": "lookaway.explainers.layercam",
    "XGradCAM": "lookaway.explainers.xgradcam",
    "Measurement": "lookaway.measurement",
    "measure": "lookaway.measurement",
    "nissim": "lookaway.metrics.dissimilarity",
    "psnr": "lookaway.metrics.dissimilarity",
    "ssim": "lookaway.metrics.ssim",
    "log_mass_ratio": "lookaway.metrics.transport",
    "sliced_wasserstein": "lookaway.metrics.transport",
    "Classifier": "lookaway.models.classifier",
    "SimilarityMaps": "lookaway.explainers.similarity",
    "similarity_map": "lookaway.explainers.similarity",
    "Embedder": "lookaway.models.gallery",
    "Gallery": "lookaway.models.gallery",
    "load_classifier": "lookaway.models.zoo",
    "load_embedder": "lookaway.models.gallery",
    "ShiftMonitor": "lookaway.monitor",
    "ShiftReading": "lookaway.reading",
    "overlay": "lookaway.report.overlays",
    "Result": "lookaway.result",
    "open_result": "lookaway.result",
    "run_study": "lookaway.run",
    "verify": "lookaway.verification",
    "verify_pairs": "lookaway.verification",
}

__all__ = [
    "FGSM",
    "MIFGSM",
    "PGD",
    "Classifier",
    "EigenCAM",
    "Embedder",
    "Explanation",
    "ExplanationAttack",
    "Gallery",
    "GradCAM",
    "GradCAMPlusPlus",
    "HiResCAM",
    "LayerCAM",
    "LookawayError",
    "Measurement",
    "Result",
    "ShiftMonitor",
    "ShiftReading",
    "SignNoise",
    "SimilarityMaps",
    "XGradCAM",
    "__version__",
    "from_captum",
    "from_foolbox",
    "from_torchattacks",
    "heatmap",
    "load_classifier",
    "load_embedder",
    "log_mass_ratio",
    "measure",
    "nissim",
    "open_result",
    "overlay",
    "psnr",
    "run_study",
    "similarity_map",
    "sliced_wasserstein",
    "ssim",
    "verify",
    "verify_pairs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lookaway' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

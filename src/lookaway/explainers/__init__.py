"""Heatmaps: where a classifier looks."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lookaway.explainers.base import Explainer

EXPLAINERS = {"gradcam": "lookaway.explainers.gradcam:GradCAM"}


def load_explainer(name: str) -> "Explainer":
    """Make the explainer of a name.

    Args:
        name: a key of ``EXPLAINERS``.
    """
    home, _, kind = EXPLAINERS[name].partition(":")
    explainer: Explainer = getattr(import_module(home), kind)()
    return explainer

"""An attack on the explanation: another heatmap, the same prediction (Dombrowski et al. 2019)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lookaway.attacks.base import Attack
from lookaway.attacks.iterative import checked_steps
from lookaway.attacks.norms import project, random_in_ball, steepest
from lookaway.errors import InputError, LayerError, ModelError
from lookaway.explainers.base import MIN_GRID, explainer_of, on_grid
from lookaway.explainers.cam import CAM
from lookaway.metrics.ssim import band
from lookaway.models.classifier import Classifier
from lookaway.models.hooks import first_tensor
from lookaway.models.postponed import must_hold
from lookaway.models.smoothing import Smoothed

_CONSTANTS = (0.01**2, 0.03**2)  # of SSIM
_INSIDE = 0.9  # of what the confidence may change: what is measured is rounded once more


class ExplanationAttack(Attack):
    """Steps that raise NISSIM of the heatmap while the prediction stays: a ceiling for MOD.

    The predicted class of each image stays, and its confidence within ``within``: of all places
    that the steps come by, the one of largest NISSIM that does is taken; where none does, it is the
    image itself. Labels play no part. A heatmap is that of the class predicted for the clean image.

    A step differentiates the map, and so the gradient that it is made of; activations that have no
    second derivative are smoothed for that alone (see ``models.smoothing``).

    Args:
        steps: at least 1.
        rel_stepsize: of a step, as a part of ε; None: 2.5 / steps.
        norm: ``linf``, or ``l2``, where ε is the length of an image's change.
        method: the name of a CAM that knows a class, whose maps are to change.
        layer: one layer, or ``last``.
        within: how far the confidence may go, in (0, 1].
        grid: side of the heatmaps that are compared in a step, px, at least 11.
        seed: of the random start; each image's follows from it and its content.

    Raises:
        InputError: an argument is out of range, or the method does not fit.

    >>> import lookaway as la
    >>> la.ExplanationAttack(steps=20).name
    'explanation'
    """

    name = "explanation"

    def __init__(
        self,
        steps: int = 30,
        rel_stepsize: float | None = None,
        norm: str = "linf",
        *,
        method: str = "gradcam",
        layer: str = "last",
        within: float = 0.05,
        grid: int = 56,
        seed: int = 0,
    ) -> None:
        self.steps, self.rel_stepsize = checked_steps(
            steps, 2.5 / max(steps, 1) if rel_stepsize is None else rel_stepsize
        )
        self.set_goal(norm, None, seed)
        explainer = explainer_of(method)
        if not isinstance(explainer, CAM) or explainer.gradients == "none":
            raise InputError(f"method={method!r} makes no map of one class that steps can follow")
        if not (0.0 < within <= 1.0 and grid >= MIN_GRID):
            raise InputError(
                f"within must be in (0, 1] and grid at least {MIN_GRID}; got {within} and {grid}"
            )
        self.explainer, self.layer, self.within, self.grid = explainer, layer, within, grid

    def perturb(
        self,
        clf: Classifier,
        images: Tensor,
        labels: Tensor,
        epsilons: Sequence[float],
        targets: Tensor | None = None,
    ) -> Tensor:
        """Step at one ε after the other; see ``Attack.perturb``.

        Raises:
            InputError: the network gives several labels at once, so no one class is predicted.
            ModelError: a gradient is not finite.
        """
        if clf.outputs.task == "labels":
            raise InputError(f"{self.name} needs one predicted class; {clf.name} gives several")
        sight = _Sight(clf, self.explainer, self.layer, self.grid, images)
        start = random_in_ball(images, self.seed, self.norm)
        return torch.stack([self._stepped(sight, images, start, epsilon) for epsilon in epsilons])

    def _stepped(self, sight: "_Sight", images: Tensor, start: Tensor, epsilon: float) -> Tensor:
        best, most = images, images.new_zeros(len(images))
        radius = torch.full_like(most, epsilon)
        attacked = (images + epsilon * start).clamp(0.0, 1.0)
        broken = torch.zeros((), dtype=torch.bool, device=images.device)
        for step in range(self.steps + 1):
            pixels = attacked.detach().clone().requires_grad_()
            found, beyond = sight.see(pixels, _INSIDE * self.within)
            better = (beyond.detach() <= 0) & (found.detach() > most)
            most = torch.where(better, found.detach(), most)
            best = torch.where(better[:, None, None, None], attacked, best)
            if step == self.steps:
                break
            raised = (found - beyond.clamp_min(0.0) / _INSIDE).sum()
            (gradient,) = torch.autograd.grad(raised, pixels)
            broken |= ~torch.isfinite(gradient).all()
            moved = attacked + epsilon * self.rel_stepsize * steepest(gradient, self.norm)
            change = project(moved - images, radius, self.norm)
            attacked = (images + change).clamp(0.0, 1.0)
        wrong = ModelError(f"{sight.clf.name} has a gradient of the map that is NaN or infinite")
        must_hold(~broken, lambda: wrong)
        return best


class _Sight:
    """What an attack on the explanation watches: heatmaps and predictions beside the clean ones."""

    def __init__(
        self, clf: Classifier, explainer: CAM, layer: str, grid: int, images: Tensor
    ) -> None:
        self.clf, self._explainer, self._grid = clf, explainer, grid
        trace = clf.trace((images.shape[2], images.shape[3]))
        names = trace.names(layer)
        if len(names) != 1:
            raise InputError(f"layer={layer!r} is {len(names)} layers; give one, or 'last'")
        self._layer, self._layout = names[0], trace.layers[names[0]].layout
        self._window = band(grid, "gaussian11", images.device).float()
        with torch.no_grad():
            logits = clf(images)
        self._classes = clf.outputs.predicted(logits)
        self._confidence = clf.outputs.confidence(logits, self._classes)
        maps, _ = self._maps(images.detach().clone().requires_grad_())
        self._clean = on_grid(maps.detach(), grid)

    def see(self, pixels: Tensor, within: float) -> tuple[Tensor, Tensor]:
        """NISSIM of the heatmaps, and how far the prediction is out of bounds; differentiable.

        Args:
            pixels: (N, C, H, W) that ask for a gradient.
            within: how far the confidence may go.

        Returns:
            (N,) both; the second at most 0 where the prediction has stayed.
        """
        maps, logits = self._maps(pixels)
        found = _nissim(self._clean, on_grid(maps, self._grid), self._window)
        outputs, classes = self.clf.outputs, self._classes
        change = (outputs.confidence(logits, classes) - self._confidence).abs() / within - 1.0
        others = logits.scatter(1, classes[:, None], -torch.inf).amax(dim=1)
        behind = others - outputs.score(logits, classes)  # above 0 where another class leads
        return found, torch.maximum(change, behind.double()).to(found.dtype)

    def _maps(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The maps (N, h, w) of the clean images' classes, and logits."""
        kept: dict[str, Any] = {}

        def keep(name: str, _layer: nn.Module, output: Any) -> None:
            kept[name] = output

        name, layout = self._layer, self._layout
        with (
            self.clf.frozen(),
            Smoothed(),
            sdpa_kernel(SDPBackend.MATH),  # of the others no gradient can be differentiated
            self.clf.hooked([name], keep),
        ):
            logits = self.clf(pixels)
            tensor = first_tensor(kept[name]) if layout is None else layout.tensor(kept[name])
            if tensor is None:
                raise LayerError(f"layer {name!r} gave no spatial maps in this pass")
            score = self.clf.outputs.score(logits, self._classes).sum()
            (gradient,) = torch.autograd.grad(score, tensor, create_graph=True)
            if layout is not None:
                tensor, gradient = layout.maps(tensor), layout.maps(gradient)
            maps, _ = self._explainer.map_of(self.clf, name, tensor, gradient)
        return maps, logits


def _nissim(a: Tensor, b: Tensor, window: Tensor) -> Tensor:
    """NISSIM of heatmaps (N, g, g), that can be differentiated; see ``metrics.ssim``."""

    def mean(x: Tensor) -> Tensor:
        return window @ x @ window.T

    first, second = mean(a), mean(b)
    variances = mean(a * a) - first**2 + mean(b * b) - second**2
    both = mean(a * b) - first * second
    light, contrast = _CONSTANTS
    ssim = (2 * first * second + light) * (2 * both + contrast)
    ssim = ssim / ((first**2 + second**2 + light) * (variances + contrast))
    return (1 - ssim.mean(dim=(1, 2))) / 2

"""Slow, obvious versions of what lookaway computes, and helpers that tests share."""

import copy
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import wasserstein_distance
from torch import Tensor, nn

from lookaway.models.classifier import Classifier
from lookaway.models.hooks import first_tensor


def ssim_by_loops(a: np.ndarray, b: np.ndarray, preset: str = "gaussian11") -> float:
    """Wang's eq. 13 for one pair of small heatmaps, window by window."""
    side = 11 if preset == "gaussian11" else 7
    weights = np.ones((side, side))
    if preset == "gaussian11":
        for row in range(side):
            for column in range(side):
                squared = (row - 5) ** 2 + (column - 5) ** 2
                weights[row, column] = math.exp(-squared / (2 * 1.5**2))
    weights /= weights.sum()
    unbiased = 1.0 if preset == "gaussian11" else side**2 / (side**2 - 1)
    values = []
    for top in range(a.shape[0] - side + 1):
        for left in range(a.shape[1] - side + 1):
            x = a[top : top + side, left : left + side].astype(np.float64)
            y = b[top : top + side, left : left + side].astype(np.float64)
            mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
            var_x = unbiased * (weights * (x - mean_x) ** 2).sum()
            var_y = unbiased * (weights * (y - mean_y) ** 2).sum()
            both = unbiased * (weights * (x - mean_x) * (y - mean_y)).sum()
            values.append(
                (2 * mean_x * mean_y + 0.01**2)
                * (2 * both + 0.03**2)
                / ((mean_x**2 + mean_y**2 + 0.01**2) * (var_x + var_y + 0.03**2))
            )
    return float(np.mean(values))


def gradcam_by_full_gradients(
    module: nn.Module, pixels: Tensor, classes: Tensor, layer: str
) -> Tensor:
    """Grad-CAM of one layer and one image at a time, from gradients of full size.

    ``pixels`` are what the network itself takes. A copy without in-place layers is used.
    """
    module = without_inplace(module).eval()
    maps = []
    for image, target in zip(pixels, classes.tolist(), strict=True):
        kept: list[Tensor] = []

        def keep(_layer: nn.Module, _inputs: Any, output: Tensor, kept: list[Tensor] = kept) -> Any:
            output.retain_grad()
            kept.append(output)
            return output.clone()  # what comes after may write into it

        handle = module.get_submodule(layer).register_forward_hook(keep)
        logits = module(image[None].clone().requires_grad_())
        handle.remove()
        logits[0, target].backward()
        activation, gradient = kept[-1].detach()[0], kept[-1].grad[0]
        cam = torch.zeros(activation.shape[1:])
        for channel in range(activation.shape[0]):
            cam += gradient[channel].mean() * activation[channel]
        maps.append(cam.clamp(min=0))
    return torch.stack(maps)


def loss_gradient(logits_of: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """The gradient of each image's own cross-entropy by its pixels, one image at a time."""
    gradients = []
    for image, label in zip(images, labels.tolist(), strict=True):
        pixels = image[None].clone().requires_grad_()
        logits = logits_of(pixels)
        loss = torch.logsumexp(logits[0], dim=0) - logits[0, label]
        gradients.append(torch.autograd.grad(loss, pixels)[0][0])
    return torch.stack(gradients)


def fgsm_by_formula(images: Tensor, gradient: Tensor, epsilon: float) -> Tensor:
    """x + ε · sign(g), clipped to [0, 1]."""
    return (images + epsilon * torch.sign(gradient)).clamp(0.0, 1.0)


def within_one_step(a: Tensor, b: Tensor) -> Tensor:
    """Where two float32 tensors are at most one float32 step apart."""
    x, y = a.numpy().astype(np.float32), b.numpy().astype(np.float32)
    gap = np.abs(x.astype(np.float64) - y.astype(np.float64))
    return torch.from_numpy(gap <= np.spacing(np.maximum(np.abs(x), np.abs(y))))


def without_inplace(module: nn.Module) -> nn.Module:
    """A copy of a network whose activations make new tensors."""
    twin = copy.deepcopy(module)
    for part in twin.modules():
        if hasattr(part, "inplace"):
            part.inplace = False
    return twin


def enliven(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give a network random weights, and norm layers that do something."""
    draw = torch.Generator().manual_seed(seed)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=draw) * (high - low) + low)

    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d | nn.LayerNorm):
                uniform(part.weight, 0.5, 1.5)
                uniform(part.bias, -0.3, 0.5)
            if isinstance(part, nn.BatchNorm2d):
                uniform(part.running_mean, -0.2, 0.2)
                uniform(part.running_var, 0.5, 1.5)
            if isinstance(part, nn.Conv2d | nn.Linear):
                spread = math.sqrt(2 / part.weight[0].numel())
                part.weight.copy_(torch.randn(part.weight.shape, generator=draw) * spread)
                if part.bias is not None:
                    uniform(part.bias, -0.1, 0.1)
        for name, parameter in module.named_parameters():
            if name.rpartition(".")[2].startswith("gamma"):  # layer scales start at 1e-6
                uniform(parameter, 0.5, 1.5)
    return module


def pixels(*shape: int, seed: int = 0) -> Tensor:
    """Seeded random pixels in [0, 1]."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def output_of(module: nn.Module, layer: str, images: Tensor) -> Tensor:
    """What a layer gives in a plain forward pass."""
    found: list[Tensor] = []
    handle = module.get_submodule(layer).register_forward_hook(
        lambda _layer, _inputs, output: found.append(output.clone())
    )
    with torch.no_grad():
        module.eval()(images)
    handle.remove()
    return found[-1]


def input_of(module: nn.Module, layer: str, images: Tensor) -> Tensor:
    """What a layer gets in a plain forward pass."""
    found: list[Tensor] = []
    handle = module.get_submodule(layer).register_forward_pre_hook(
        lambda _layer, inputs: found.append(inputs[0].clone())
    )
    with torch.no_grad():
        module.eval()(images)
    handle.remove()
    return found[-1]


def assert_read_as_timm_does(clf: Classifier, stages: bool = True) -> None:
    """Every layer that holds the numbers of a stage is read as timm's maps (N, C, h, w) of it.

    Args:
        clf: of a network of timm's, in eval mode.
        stages: whether ``stages`` must be all of timm's, or may be refused.
    """
    network, layers = clf.module, clf.trace().layers
    images = clf.prepare(pixels(2, clf.channels, *clf.input_size, seed=3))
    found: dict[str, Any] = {}
    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda _part, _inputs, output, name=name: found.update({name: output})
        )
        for name in layers
    ]
    with torch.no_grad():
        expected = network.forward_intermediates(images, intermediates_only=True)
        network(images)
    for handle in handles:
        handle.remove()
    read: dict[int, set[str]] = {place: set() for place in range(len(expected))}
    for name, layer in layers.items():
        output = found[name]
        maps = first_tensor(output) if layer.layout is None else layer.layout.tensor(output)
        maps = maps if layer.layout is None else layer.layout.maps(maps)
        assert layer.size == tuple(maps.shape[2:]), name
        for place, stage in enumerate(expected):
            same = maps.numel() == stage.numel() and maps.amax() == stage.amax()
            if same and torch.equal(maps.flatten().sort().values, stage.flatten().sort().values):
                assert torch.equal(maps, stage), name
                read[place].add(name)
    if stages:
        names = clf.layer_names("stages")
        assert all(read.values())
        assert all(any(name in each for each in read.values()) for name in names)


class Passes:
    """Counts the forward passes of a network, and the images in them, in a ``with`` block."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.count, self.images = module, 0, 0

    def __enter__(self) -> "Passes":
        self._handle = self.module.register_forward_pre_hook(self._note)
        return self

    def _note(self, _module: nn.Module, inputs: Any) -> None:
        self.count += 1
        self.images += len(inputs[0])

    def __exit__(self, *_exception: object) -> None:
        self._handle.remove()


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, antialiased, ``align_corners=False``."""
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)


_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
)


def state_of(module: nn.Module) -> dict[str, Any]:
    """Everything a call must leave alone, as plain values that compare with ``==``.

    Modules: training flags and hooks. Parameters and buffers: identity, values, dtype, memory
    layout, requires_grad, and the identity and values of ``.grad``.
    """
    state: dict[str, Any] = {}
    for name, part in module.named_modules():
        state[f"{name}: training"] = part.training
        for kind in _HOOKS:
            state[f"{name}: {kind}"] = [id(hook) for hook in getattr(part, kind).values()]
    tensors = [*module.named_parameters(), *module.named_buffers()]
    for name, tensor in tensors:
        state[f"{name}: identity"] = (id(tensor), tensor.data_ptr())
        state[f"{name}: values"] = tensor.detach().double().flatten().tolist()
        state[f"{name}: layout"] = (tensor.dtype, tensor.shape, tensor.stride())
        state[f"{name}: requires_grad"] = tensor.requires_grad
        state[f"{name}: tensor hooks"] = len(tensor._backward_hooks or {})
        if tensor.is_leaf:
            gradient = tensor.grad
            state[f"{name}: grad"] = (
                None if gradient is None else (id(gradient), gradient.flatten().tolist())
            )
    return state


def plain_bootstrap(
    labels: list[str], statistic: Callable[[np.ndarray], float], whole: bool, count: int
) -> np.ndarray:
    """A statistic of the places of images, drawn with replacement one resample after the other.

    Whole classes are drawn, or as many images within each class as it has.
    """
    random = np.random.default_rng(99)
    members = [np.flatnonzero(np.array(labels) == name) for name in sorted(set(labels))]
    found = []
    for _ in range(count):
        if whole:
            parts = [members[place] for place in random.integers(0, len(members), len(members))]
        else:
            parts = [random.choice(places, len(places)) for places in members]
        found.append(statistic(np.concatenate(parts)))
    return np.array(found)


def ratio_with_error(above: Any, below: Any, strata: Any) -> tuple[float, float]:
    """A ratio of sums over units, and its standard error: that of what each is above the ratio.

    Each stratum's part has the variance of so many draws from a stratum, size / (size − 1) times
    the sum of squares around the stratum's mean.
    """
    ratio = sum(above) / sum(below)
    variance = 0.0
    for stratum in set(strata):
        left = [
            a - ratio * b for a, b, of in zip(above, below, strata, strict=True) if of == stratum
        ]
        if len(left) > 1:
            mean = sum(left) / len(left)
            variance += len(left) / (len(left) - 1) * sum((each - mean) ** 2 for each in left)
    return ratio, math.sqrt(variance) / abs(sum(below))


def pair_variances(left: Any, first: Any, second: Any) -> tuple[float, float]:
    """Σ e e′ over all two pairs whose first unit is one, and over those that share any unit."""
    one = both = 0.0
    for e, a, b in zip(left, first, second, strict=True):
        for other, c, d in zip(left, first, second, strict=True):
            one += e * other * (a == c)
            both += e * other * bool({a, b} & {c, d})
    return one, both


def auroc_by_pairs(scores: Any, positive: Any) -> float:
    """How often a positive is above a negative, pair by pair; a tie is half."""
    wins = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high, wanted in zip(scores, positive, strict=True)
        if wanted
        for low, other in zip(scores, positive, strict=True)
        if not other
    ]
    return sum(wins) / len(wins)


def p_by_all_signs(differences: Any) -> float:
    """The share of all sign patterns whose sum is at least as far from 0."""
    observed = abs(math.fsum(differences))
    patterns = list(itertools.product([1, -1], repeat=len(differences)))
    as_large = [
        abs(math.fsum(sign * value for sign, value in zip(signs, differences, strict=True)))
        >= observed - 1e-9
        for signs in patterns
    ]
    return sum(as_large) / len(patterns)


def holm_by_steps(chances: list[float | None]) -> list[float | None]:
    """Holm's adjusted p: for each the largest (m − i) p₍ᵢ₎ of those that are not above it."""
    known = sorted(chance for chance in chances if chance is not None)
    return [
        None
        if chance is None
        else min(1.0, max((len(known) - i) * p for i, p in enumerate(known) if p <= chance))
        for chance in chances
    ]


def decomposition_by_outcome(
    before: np.ndarray,
    after: np.ndarray,
    attacked: np.ndarray,
    right: list[np.ndarray],
    nissim: list[np.ndarray],
    fewest: int = 5,
) -> dict[str, float | None]:
    """Kitagawa's two parts of an excess over several draws of a control, image by image.

    ``before`` and ``after`` (N,) say which predictions are right, ``right`` those under each draw.
    """
    draws, count = len(right), len(before)

    def outcome(is_right: bool, was_right: bool) -> str:
        return "wrong before" if not was_right else "stayed right" if is_right else "flipped"

    mine = [outcome(a, b) for a, b in zip(after, before, strict=True)]
    theirs = [[outcome(a, b) for a, b in zip(each, before, strict=True)] for each in right]
    excess, flips, beyond, known = 0.0, 0.0, 0.0, True
    for kind in ("stayed right", "flipped", "wrong before"):
        a = [attacked[i] for i in range(count) if mine[i] == kind]
        c = [nissim[d][i] for d in range(draws) for i in range(count) if theirs[d][i] == kind]
        some = {i for d in range(draws) for i in range(count) if theirs[d][i] == kind}
        share_a, share_c = len(a) / count, len(c) / (count * draws)
        excess += sum(a) / count - sum(c) / (count * draws)
        if kind != "wrong before" and a and len(some) < fewest:
            known = False
        if c:
            flips += (share_a - share_c) * sum(c) / len(c)
            beyond += sum(a) / count - share_a * sum(c) / len(c)
    found: dict[str, float | None] = {"excess": excess}
    found |= {"more flips": flips if known else None, "equal outcome": beyond if known else None}
    pairs: dict[str, list[float]] = {
        "stayed right under both": [],
        "flipped under both": [],
        "wrong before": [],
        "same outcome": [],
        "other outcome": [],
    }
    for i in range(count):
        for d in range(draws):
            kind = mine[i] if mine[i] == "wrong before" else f"{mine[i]} under both"
            same = mine[i] == theirs[d][i]
            for name in [kind, "same outcome"] if same else ["other outcome"]:
                pairs[name].append(attacked[i] - nissim[d][i])
    return found | {kind: sum(each) / len(each) if each else None for kind, each in pairs.items()}


def permuted_p(
    nissim: np.ndarray,
    flipped: np.ndarray,
    confidence: np.ndarray,
    classes: np.ndarray,
    times: int,
    random: np.random.Generator,
) -> tuple[float, float]:
    """The share of pairs of one class and like confidence that flips win, and its one-sided p."""
    groups = []
    for one in sorted(set(classes.tolist())):
        mine = [i for i in range(len(classes)) if classes[i] == one]
        ranks, given = (np.argsort(np.argsort(each[mine])) for each in (nissim, confidence))
        curve = np.polyfit(given / len(mine), ranks, 3)
        left = dict(zip(mine, ranks - np.polyval(curve, given / len(mine)), strict=True))
        mine.sort(key=lambda i: confidence[i])
        count, start = max(1, round(len(mine) / 5)), 0
        size, more = divmod(len(mine), count)
        for place in range(count):
            stop = start + size + (place < more)
            groups.append([(left[i], bool(flipped[i])) for i in mine[start:stop]])
            start = stop

    def share(given: list[list[tuple[float, bool]]]) -> float:
        won = [
            1.0 if high > low + 1e-9 else 0.5 if high > low - 1e-9 else 0.0
            for group in given
            for high, gone in group
            for low, other in group
            if gone and not other
        ]
        return float(np.mean(won))

    observed, as_large = share(groups), 0
    for _ in range(times):
        shuffled = [
            [
                (value, gone)
                for (value, _), gone in zip(
                    group, random.permutation([gone for _, gone in group]), strict=True
                )
            ]
            for group in groups
        ]
        as_large += share(shuffled) >= observed - 1e-9
    return observed, as_large / times


def sliced_wasserstein_of_points(clean, attacked):
    """The mean over 8 directions of SciPy's distance along each, over that of a step's largest."""
    height, width = clean.shape
    y, x = ((np.arange(side) + 0.5) / side for side in (height, width))
    angles = [np.pi * number / 8 for number in range(8)]
    along = [
        wasserstein_distance(
            *[(y[:, None] * np.sin(angle) + x * np.cos(angle)).ravel()] * 2,
            clean.double().flatten(),
            attacked.double().flatten(),
        )
        for angle in angles
    ]
    steps = np.linspace(0, np.pi, 16 * 100 + 1)
    largest = max(np.mean([abs(np.cos(step - angle)) for angle in angles]) for step in steps)
    return np.mean(along) / largest

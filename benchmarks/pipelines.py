"""One study of a batch, four ways: lookaway's, two that users assemble from peers, and the floor.

Each attacks every image at each ε, explains the class predicted for the clean image before and
after, and compares the heatmaps at 224 px: NISSIM (E, N) of the last layer, or (L, E, N) of all.
"""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

GRID = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Normalised(nn.Module):
    """A timm network on pixels in [0, 1], as users wrap one for torchattacks, in eval mode.

    torchattacks gives the wrapper's mode back to all of it after an attack: a wrapper left in train
    mode would put the network's batch norm there.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        own = next(self.net.parameters()).dtype
        return self.net(((images - self.mean) / self.std).to(own)).float()


def network(name: str, classes: int = 40) -> nn.Module:
    """A network with random weights, in eval mode, the same every time.

    Batch norm statistics are made those of a batch of noise, so that activations stay in range.
    """
    torch.manual_seed(0)
    net = timm.create_model(name, pretrained=False, num_classes=classes)
    norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        with torch.no_grad():
            net.train()(torch.randn(8, 3, GRID, GRID))
    return net.eval()


def batch(count: int, classes: int = 40) -> tuple[Tensor, Tensor]:
    """Smooth random images with some noise, and labels."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 16, 16, generator=random)
    images = F.interpolate(coarse, size=(GRID, GRID), mode="bilinear", align_corners=False)
    images = (images + 0.1 * torch.randn(images.shape, generator=random)).clamp(0, 1)
    return images, torch.randint(0, classes, (count,), generator=random)


@dataclass
class Given:
    """What every pipeline gets."""

    name: str
    net: nn.Module
    images: Tensor
    labels: Tensor
    epsilons: Sequence[float]
    layers: list[str]  # the explained ones, by name in the network
    at_once: int = 8  # images in a batch; what suits lookaway suits the peers here too
    spent: dict[str, float] = field(default_factory=dict)

    def batches(self) -> list[tuple[Tensor, Tensor]]:
        return list(
            zip(
                torch.split(self.images, self.at_once),
                torch.split(self.labels, self.at_once),
                strict=True,
            )
        )


@contextmanager
def trainable(net: nn.Module, chosen: Callable[[str], bool]) -> Any:
    """Hold parameters frozen but for the chosen ones."""
    before = {name: parameter.requires_grad for name, parameter in net.named_parameters()}
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(chosen(name))
    try:
        yield
    finally:
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(before[name])


def skimage_nissim(clean: np.ndarray, attacked: np.ndarray) -> list[float]:
    """(1 − SSIM) / 2 of each pair, Gaussian window."""
    from skimage.metrics import structural_similarity

    return [
        (
            1
            - structural_similarity(
                a, b, data_range=1.0, gaussian_weights=True, use_sample_covariance=False
            )
        )
        / 2
        for a, b in zip(clean, attacked, strict=True)
    ]


def torchattacks_gradcam(
    given: Given,
    *,
    freeze: str = "input",
    ssim: Callable[[np.ndarray, np.ndarray], list[float]] = skimage_nissim,
) -> np.ndarray:
    """Baseline 1: torchattacks for each ε, pytorch-grad-cam for each batch, scikit-image's SSIM.

    Args:
        given: the study.
        freeze: ``nothing`` (as their READMEs have it); ``input``: no parameter asks for a
            gradient and the images do, so that pytorch-grad-cam still works; ``last``: only the
            explained layer's own parameters do, the least work that it can be made to do.
        ssim: (1 − SSIM) / 2 of each pair of heatmaps.
    """
    import torchattacks
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model = Normalised(given.net).to(given.images.device)
    (last,) = given.layers
    layer = given.net.get_submodule(last)
    prefix = last if list(layer.parameters()) else _with_parameters(given.net, last)
    rules = {
        "nothing": lambda _: True,
        "input": lambda _: False,
        "last": lambda name: name.startswith(prefix),
    }
    result = []
    for images, labels in given.batches():
        scores = []
        attack_free = rules["nothing"] if freeze == "nothing" else rules["input"]
        with trainable(given.net, attack_free):
            attacked = [torchattacks.FGSM(model, eps=eps)(images, labels) for eps in given.epsilons]
        with (
            trainable(given.net, rules[freeze]),
            GradCAM(model=model, target_layers=[layer]) as cam,
        ):
            wanted = images.clone().requires_grad_(freeze == "input")
            clean = cam(input_tensor=wanted, targets=None)
            classes = cam.outputs.argmax(dim=1)
            targets = [ClassifierOutputTarget(int(index)) for index in classes]
            for changed in attacked:
                wanted = changed.requires_grad_(freeze == "input")
                scores.append(ssim(clean, cam(input_tensor=wanted, targets=targets)))
        result.append(np.array(scores))
    return np.concatenate(result, axis=1)


def _with_parameters(net: nn.Module, name: str) -> str:
    """The last layer with parameters up to a named one, for layers that have none."""
    found = ""
    for other, part in net.named_modules():
        if any(True for _ in part.parameters(recurse=False)):
            found = other
        if other == name:
            break
    return found


def torchattacks_torchcam(given: Given) -> np.ndarray:
    """Baseline 2: torchattacks for each ε, torch-cam with all layers in one pass, scikit-image."""
    import torchattacks
    from torchcam.methods import GradCAM

    model = Normalised(given.net)
    names = [f"net.{name}" for name in given.layers]
    result = []
    with trainable(given.net, lambda _: False), GradCAM(model, target_layer=names) as cam:
        for images, labels in given.batches():
            cam.disable_hooks()
            attacked = [torchattacks.FGSM(model, eps=eps)(images, labels) for eps in given.epsilons]
            cam.enable_hooks()
            scores = model(images.clone().requires_grad_())
            classes = scores.argmax(dim=1).tolist()
            clean = _enlarged(cam(classes, scores, normalized=False))
            found = []
            for changed in attacked:
                scores = model(changed.requires_grad_())
                maps = _enlarged(cam(classes, scores, normalized=False))
                found.append([skimage_nissim(a, b) for a, b in zip(clean, maps, strict=True)])
            result.append(np.array(found).swapaxes(0, 1))
    return np.concatenate(result, axis=2)


def _enlarged(maps: list[Tensor]) -> list[np.ndarray]:
    """Heatmaps ÷ their maximum at 224 px, as users enlarge torch-cam's maps."""
    done = []
    for each in maps:
        peak = each.amax(dim=(1, 2), keepdim=True)
        scaled = each / torch.where(peak > 0, peak, 1.0)
        large = F.interpolate(scaled[:, None], size=(GRID, GRID), mode="bilinear", antialias=True)
        done.append(large[:, 0].clamp(0, 1).numpy())
    return done


def gradcam_layer_by_layer(given: Given) -> np.ndarray:
    """pytorch-grad-cam called for one layer after the other (L, E, N): time it on a few."""
    scores = []
    for name in given.layers:
        one = Given(
            given.name,
            given.net,
            given.images,
            given.labels,
            given.epsilons,
            [name],
            given.at_once,
        )
        scores.append(torchattacks_gradcam(one, freeze="input"))
    return np.stack(scores)


def floor_last(given: Given) -> None:
    """One input gradient and a forward pass for each ε, in plain eager PyTorch."""
    model = Normalised(given.net).to(given.images.device)
    with trainable(given.net, lambda _: False):
        for images, labels in given.batches():
            signs = _input_gradient(model, images, labels).sign()
            with torch.no_grad():
                for eps in given.epsilons:
                    model((images + eps * signs).clamp(0, 1))


def floor_every(given: Given) -> None:
    """One input gradient; a forward and activation-gradient pass for each ε and the clean image."""
    model = Normalised(given.net).to(given.images.device)
    layers = [given.net.get_submodule(name) for name in given.layers]
    outputs: list[Tensor] = []
    handles = [
        layer.register_forward_hook(lambda _layer, _given, output: outputs.append(output))
        for layer in layers
    ]
    try:
        with trainable(given.net, lambda _: False):
            for images, labels in given.batches():
                signs = _input_gradient(model, images, labels).sign()
                for eps in (0.0, *given.epsilons):
                    outputs.clear()
                    logits = model((images + eps * signs).clamp(0, 1).requires_grad_())
                    torch.autograd.grad(logits.amax(dim=1).sum(), outputs)
    finally:
        for handle in handles:
            handle.remove()


def _input_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    pixels = images.clone().requires_grad_()
    loss = F.cross_entropy(model(pixels), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, pixels)
    return gradient

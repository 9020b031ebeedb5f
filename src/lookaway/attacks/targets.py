"""Where a targeted attack goes: the class that it wants each image taken for."""

import torch
from torch import Tensor

from lookaway.attacks.norms import of_content
from lookaway.errors import InputError

TARGETS = ("least_likely", "nearest", "next", "random")
OF = ("label", "predicted")
OBJECTIVES = ("cross_entropy", "score")


def check_targets(targets: str | None) -> str | None:
    """Refuse an unknown way of choosing targets.

    Raises:
        InputError: with what is possible.
    """
    if targets is not None and targets not in TARGETS:
        raise InputError(
            f"targets={targets!r} is unknown; possible: {', '.join(TARGETS)}, None for an "
            "untargeted attack, or, in a call, the classes (N,)"
        )
    return targets


def check_objective(objective: str) -> str:
    """Refuse an unknown objective.

    Raises:
        InputError: with what is possible.
    """
    if objective not in OBJECTIVES:
        raise InputError(f"objective={objective!r} is unknown; possible: {', '.join(OBJECTIVES)}")
    return objective


def check_of(of: str) -> str:
    """Refuse what is no class that an attack can be of.

    Raises:
        InputError: with what is possible.
    """
    if of not in OF:
        raise InputError(f"of={of!r} is unknown; possible: {', '.join(OF)}")
    return of


def truth(of: str, name: str, logits: Tensor, labels: Tensor) -> Tensor:
    """The class of each image that an attack is of: its label, or the predicted one.

    Args:
        of: which.
        name: of the attack, for the error.
        logits: (N, K) of the clean images.
        labels: (N,) int64.

    Raises:
        InputError: an image has several labels, so that no one class is predicted.
    """
    if of == "label":
        return labels
    if labels.ndim != 1:
        raise InputError(f"{name} with of={of!r} needs one label an image")
    return logits.argmax(dim=1)


def chosen(targets: str, logits: Tensor, labels: Tensor, images: Tensor, seed: int) -> Tensor:
    """The target of each image, which is never its label.

    Args:
        targets: ``least_likely`` or ``nearest``, of the smallest or largest logit; ``next``, the
            class after the label; ``random``, by the seed and the image's content alone.
        logits: (N, K) of the clean images.
        labels: (N,) int64.
        images: (N, C, H, W) float pixels in [0, 1].
        seed: of ``random``.

    Returns:
        (N,) int64.

    Raises:
        InputError: there is no other class.
    """
    count = logits.shape[1]
    if count < 2:
        raise InputError("a targeted attack needs a second class")
    if targets == "least_likely":
        return logits.scatter(1, labels[:, None], torch.inf).argmin(dim=1)
    if targets == "nearest":
        return logits.scatter(1, labels[:, None], -torch.inf).argmax(dim=1)
    if targets == "next":
        return (labels + 1) % count
    content = images.detach().to("cpu", torch.float32)
    steps = [1 + of_content(image, "target", seed) % (count - 1) for image in content]
    return (labels + torch.tensor(steps, device=labels.device)) % count

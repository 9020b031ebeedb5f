"""What a network's outputs mean, and the logits that follow from them."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lookaway.errors import InputError, ModelError

OUTPUTS = ("logits", "binary", "probabilities", "multilabel")
_REMEDY = (
    "the gradients of probabilities vanish where the network is sure, so an attack would change "
    "nothing and it would seem stable. Give the network without its last softmax or sigmoid, or "
    'say outputs="probabilities", and their logarithms are taken'
)


@dataclass(frozen=True)
class Outputs:
    """How the numbers that a network gives become logits.

    Attributes:
        given: what they are: logits, probabilities of a softmax, or of a sigmoid.
        task: one of several ``classes``; ``binary``, two classes by one number z, with the logits
            −z/2 and z/2, whose softmax is the sigmoid of z; or several ``labels`` at once.
    """

    given: Literal["logits", "softmax", "sigmoid"] = "logits"
    task: Literal["classes", "binary", "labels"] = "classes"

    def logits(self, raw: Tensor, are_logits: bool = False) -> Tensor:
        """Logits (N, K) of what the network gave.

        Args:
            raw: (N, k).
            are_logits: they are what entered the softmax or sigmoid, in place of what came out.
        """
        tiny = torch.finfo(raw.dtype).tiny
        if self.given == "softmax" and not are_logits:
            raw = raw.clamp(min=tiny).log()
        elif self.given == "sigmoid" and not are_logits:
            within = raw.clamp(tiny, 1.0 - torch.finfo(raw.dtype).eps / 2)
            raw = within.log() - (-within).log1p()
        return torch.cat([-raw / 2, raw / 2], dim=1) if self.task == "binary" else raw

    def loss(self, logits: Tensor, labels: Tensor, reduction: str = "sum") -> Tensor:
        """What wrong answers cost: the sum or mean over the images, or each (N,).

        Cross-entropy; of several labels at once, binary cross-entropy: of the labels that are
        known, which is one where an index is given.

        Args:
            logits: (N, K).
            labels: (N,) int64; or, of several labels, (N, K) of 0 and 1.
            reduction: ``sum``, ``mean`` or ``none``.
        """
        if self.task != "labels":
            return F.cross_entropy(logits, labels, reduction=reduction)
        if labels.ndim == 1:
            each = F.softplus(-logits.gather(1, labels[:, None])[:, 0])
        else:
            truth = labels.to(logits.dtype)
            each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(dim=1)
        return each if reduction == "none" else getattr(each, reduction)()

    def score(self, logits: Tensor, classes: Tensor) -> Tensor:
        """What is explained of one class of each image, (N,): its logit."""
        return logits.gather(1, classes[:, None])[:, 0]

    def predicted(self, logits: Tensor, labels: Tensor | None = None) -> Tensor:
        """The predicted class of each image (N,) int64: that of the largest logit.

        Of several labels at once, an image's own one where the network gives it at least one half,
        else the most likely of the others.

        Args:
            logits: (N, K).
            labels: (N,) true ones, where they are known.
        """
        if self.task != "labels" or labels is None:
            return logits.argmax(dim=1)
        labels = labels.to(logits.device)
        own = logits.gather(1, labels[:, None])[:, 0]
        others = logits.scatter(1, labels[:, None], -torch.inf).argmax(dim=1)
        return torch.where(own >= 0, labels, others)

    def confidence(self, logits: Tensor, classes: Tensor) -> Tensor:
        """The probability of a class of each image, (N,) float64 in [0, 1]."""
        exact = logits.double()
        chances = exact.sigmoid() if self.task == "labels" else exact.softmax(dim=1)
        return chances.gather(1, classes[:, None])[:, 0]


def found_outputs(name: str, said: str | None, raw: Tensor, ends_in: str | None) -> Outputs:
    """What a network's outputs are, by what the user said and what it gives.

    Args:
        name: of the network, for errors.
        said: one of ``OUTPUTS``; None: logits, binary where there is one column.
        raw: (N, k) of different probes.
        ends_in: ``sigmoid`` or ``softmax`` where the last operation is one.

    Raises:
        ModelError: they are probabilities and nobody said so, or do not fit what was said.
    """
    columns = raw.shape[1]
    sums_to_1 = columns > 1 and _are_distributions(raw)
    if said in (None, "binary", "multilabel") and (sums_to_1 or ends_in == "sigmoid"):
        what = "rows that add up to 1" if sums_to_1 else "the outputs of a sigmoid"
        raise ModelError(f"{name} gives probabilities ({what}): {_REMEDY}")
    if said == "binary" and columns != 1:
        raise ModelError(f'{name} has {columns} outputs; outputs="binary" is for one')
    if said in ("logits", "multilabel") and columns == 1:
        raise ModelError(
            f"{name} has one output, which is no choice between classes; say outputs="
            '"binary" for two classes with the logits -z/2 and z/2'
        )
    if said == "probabilities":
        if not (bool((raw >= 0).all()) and bool((raw <= 1 + 1e-3).all())):
            raise ModelError(
                f"{name} gives numbers from {float(raw.min()):g} to {float(raw.max()):g}, which "
                "are no probabilities; leave outputs out"
            )
        if sums_to_1:
            return Outputs("softmax")
        return Outputs("sigmoid", "binary" if columns == 1 else "labels")
    if said == "multilabel":
        return Outputs("logits", "labels")
    return Outputs("logits", "binary" if columns == 1 else "classes")


def check_said(said: str | None) -> None:
    """Refuse an unknown kind of outputs.

    Raises:
        InputError: with what is possible.
    """
    if said is not None and said not in OUTPUTS:
        raise InputError(f"outputs={said!r} is unknown; possible: {', '.join(OUTPUTS)}, or None")


def output_tensor(output: Any, name: str) -> Tensor:
    """The numbers, (N, k) or (N,), in what a network gives.

    Raises:
        ModelError: there are none.
    """
    found = output
    if isinstance(output, Mapping):
        found = output.get("logits", next(iter(output.values()), None))
    elif hasattr(output, "logits"):
        found = output.logits
    elif isinstance(output, tuple | list):
        found = output[0] if output else None
    if not isinstance(found, Tensor) or found.ndim not in (1, 2):
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ModelError(
            f"{name} gives {shape} where logits (N, K) are needed; wrap it in a module that "
            "returns the logits, or a tuple or mapping that has them first or as 'logits'"
        )
    return found


def as_columns(raw: Tensor) -> Tensor:
    """What a network gave, (N,) or (N, k), as (N, k) float32 (float64 if it is)."""
    columns = raw[:, None] if raw.ndim == 1 else raw
    return columns if columns.dtype == torch.float64 else columns.float()


class LastOperation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes which tensors come from a sigmoid or softmax, whatever their shape since."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._from: dict[int, tuple[str, Tensor]] = {}  # the tensor too, so that its id stays its

    def of(self, tensor: Tensor) -> str | None:
        """``sigmoid``, ``softmax`` or None."""
        return self._from.get(id(tensor), (None,))[0]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        operation = func.overloadpacket.__name__ if hasattr(func, "overloadpacket") else ""
        if isinstance(given, Tensor):
            if operation in _FINAL:
                self._from[id(given)] = _FINAL[operation], given
            elif operation in _SAME_NUMBERS and isinstance(args[0], Tensor):
                before = self.of(args[0])
                if before is not None:
                    self._from[id(given)] = before, given
        return given


@contextmanager
def entering_softmax(module: nn.Module) -> Iterator[dict[int, tuple[Tensor, Tensor]]]:
    """What enters each softmax and sigmoid module, by the id of what comes out (kept too)."""
    found: dict[int, tuple[Tensor, Tensor]] = {}

    def note(_part: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        found[id(output)] = inputs[0], output

    with ExitStack() as stack:
        for part in module.modules():
            if isinstance(part, nn.Softmax | nn.Sigmoid):
                stack.callback(part.register_forward_hook(note).remove)
        yield found


_FINAL = {"sigmoid": "sigmoid", "sigmoid_": "sigmoid", "_softmax": "softmax"}
_SAME_NUMBERS = {
    *("alias", "clamp", "clone", "detach", "_to_copy", "permute", "reshape", "select", "slice"),
    *("squeeze", "t", "transpose", "unsqueeze", "view", "_unsafe_view"),
}


def _are_distributions(raw: Tensor) -> bool:
    """Whether each row lies in [0, 1] and adds up to 1, to half precision."""
    rows = raw.detach().float()
    inside = bool((rows >= 0).all()) and bool((rows <= 1 + 1e-3).all())
    return inside and bool(((rows.sum(dim=1) - 1).abs() < 4e-3).all())

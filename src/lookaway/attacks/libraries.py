"""Attacks of torchattacks and foolbox, where they are installed, as attacks of this package.

What is random in them comes from global generators: they are seeded by the batch's content for the
call, and left as they were.
"""

import inspect
import random
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lookaway.attacks.base import Attack
from lookaway.attacks.norms import check_norm, of_content
from lookaway.errors import InputError, nearest
from lookaway.models.classifier import Classifier
from lookaway.models.hooks import frozen

_GRADIENT_FREE = re.compile(  # of both libraries
    "Square|SPSA|OnePixel|Pixle|BoundaryAttack|HopSkipJumpAttack|GenAttack|PointwiseAttack|"
    "SpatialAttack|GaussianBlurAttack|InversionAttack|DatasetAttack|.*NoiseAttack|"
    ".*ContrastReductionAttack"
)
_INSTALL = {
    "torchattacks": "pip install --no-deps torchattacks (it pins an old requests otherwise)",
    "foolbox": "pip install foolbox",
}


def library_attack(library: str, name: str, options: Mapping[str, Any]) -> Attack:
    """An attack of a library by its class's name.

    Args:
        library: one of ``registry.LIBRARIES``.
        name: of the class, such as ``DIFGSM`` or ``LinfPGD``.
        options: arguments of the class.

    Raises:
        InputError: the library is not installed, or has no such attack or option.
    """
    home = library if library == "torchattacks" else "foolbox.attacks"
    try:
        found = import_module(home)
    except ImportError as error:
        raise InputError(f"{library} is not installed: {_INSTALL[library]}") from error
    make = getattr(found, name, None)
    if not inspect.isclass(make):
        known = sorted(one for one in dir(found) if inspect.isclass(getattr(found, one)))
        raise InputError(
            f"{library} has no attack {name!r};{nearest(name, known)} it has {', '.join(known)}"
        )
    adapt = {"torchattacks": from_torchattacks, "foolbox": from_foolbox}[library]
    made = adapt(make, **options)
    made.name = name.lower()  # which may be another than that of the class
    return made


def from_torchattacks(make: Callable[..., Any], **options: Any) -> Attack:
    """An attack of torchattacks as one of this package.

    Its ``eps`` is each level in turn; what else its class takes is given as options, and stays at
    its default else: PGD's ``alpha``, for one, does not follow ε. The number of classes is told to
    those that ask for it.

    Args:
        make: a class such as ``torchattacks.DIFGSM``.
        options: its arguments.

    Raises:
        InputError: it takes no ``eps``, or has no such option.

    Example:
        ``la.from_torchattacks(torchattacks.DIFGSM, steps=10)(clf, images, labels, [0.01, 0.05])``
    """
    return _TorchAttack(make, options)


def from_foolbox(make: Callable[..., Any], **options: Any) -> Attack:
    """An attack of foolbox as one of this package.

    One that searches for the least change (DeepFool, …) gives at each ε what it found, clipped to
    the ball, as foolbox does.

    Args:
        make: a class such as ``foolbox.attacks.LinfPGD``.
        options: its arguments.

    Raises:
        InputError: it has no such option, or measures changes neither in L∞ nor in L2.

    Example:
        ``la.from_foolbox(foolbox.attacks.LinfDeepFoolAttack)(clf, images, labels, [0.01, 0.05])``
    """
    return _FoolboxAttack(make, options)


class _LibraryAttack(Attack):
    """What both share."""

    def __init__(self, make: Callable[..., Any], options: Mapping[str, Any]) -> None:
        self.make, self.options = make, dict(options)
        its_class = getattr(make, "__name__", "attack")
        self.name = its_class.lower()
        self.gradient_free = bool(_GRADIENT_FREE.fullmatch(its_class))
        self.takes = {
            name: each
            for name, each in inspect.signature(make).parameters.items()
            if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY) and name != "model"
        }
        for option in self.options:
            if option not in self.takes or option == "eps":
                possible = ", ".join(name for name in self.takes if name != "eps")
                why = "the epsilons of the call are its eps" if option == "eps" else "unknown"
                raise InputError(f"{self.name}: {option}: {why}; possible: {possible}")

    def setting(self, name: str) -> Any:
        """What an option is: given, or its default; None where the class has none."""
        default = self.takes[name].default if name in self.takes else None
        return self.options.get(name, default)

    @contextmanager
    def alone(self, clf: Classifier, images: Tensor) -> Iterator[None]:
        """Quiet, from a seed of its own, with the network's weights frozen; then as before."""
        content = images.detach().to("cpu", torch.float32)
        seed = of_content(content, self.name, self.seed) % 2**32
        devices = [images.device] if images.device.type == "cuda" else []
        kept = random.getstate(), np.random.get_state()
        with warnings.catch_warnings(), torch.random.fork_rng(devices), frozen(clf):
            warnings.simplefilter("ignore")
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            try:
                yield
            finally:
                random.setstate(kept[0])
                np.random.set_state(kept[1])


class _TorchAttack(_LibraryAttack):
    """See ``from_torchattacks``."""

    targeted = True

    def __init__(self, make: Callable[..., Any], options: Mapping[str, Any]) -> None:
        super().__init__(make, options)
        if "eps" not in self.takes:
            raise InputError(
                f"torchattacks' {self.name} has no eps, so it cannot be held to the study's; "
                "foolbox's attacks that search for the least change can"
            )
        said = str(self.setting("norm") or ("l2" if self.name.endswith("l2") else "linf")).lower()
        self.norm = check_norm(said)

    def perturb(
        self,
        clf: Classifier,
        images: Tensor,
        labels: Tensor,
        epsilons: Sequence[float],
        targets: Tensor | None = None,
    ) -> Tensor:
        """One level after the other; see ``Attack.perturb``."""
        options = dict(self.options)
        if "n_classes" in self.takes:
            options.setdefault("n_classes", clf.classes_at((images.shape[2], images.shape[3])))
        found = []
        with self.alone(clf, images):
            for epsilon in epsilons:
                attack = self.make(clf, eps=epsilon, **options)
                if targets is not None:
                    if "targeted" not in getattr(attack, "supported_mode", []):
                        raise InputError(
                            f"torchattacks' {self.name} is untargeted; leave targets out"
                        )
                    attack.set_mode_targeted_by_label(quiet=True)
                attacked = attack(images, labels if targets is None else targets)
                found.append(attacked.detach().clamp(0.0, 1.0))
        return torch.stack(found)


class _FoolboxAttack(_LibraryAttack):
    """See ``from_foolbox``."""

    targeted = True

    def __init__(self, make: Callable[..., Any], options: Mapping[str, Any]) -> None:
        super().__init__(make, options)
        self.attack = make(**self.options)
        order = getattr(getattr(self.attack, "distance", None), "p", None)
        if order not in (2, float("inf")):
            raise InputError(f"foolbox's {self.name} measures changes neither in L∞ nor in L2")
        self.norm = "l2" if order == 2 else "linf"
        base = import_module("foolbox.attacks.base")
        self.searches = isinstance(self.attack, base.MinimizationAttack)
        # Others, such as DeepFool, take a goal and do not go there.
        goals = str(inspect.signature(self.attack.run).parameters["criterion"].annotation)
        self.takes_targets = "TargetedMisclassification" in goals

    def perturb(
        self,
        clf: Classifier,
        images: Tensor,
        labels: Tensor,
        epsilons: Sequence[float],
        targets: Tensor | None = None,
    ) -> Tensor:
        """All levels in one call; see ``Attack.perturb``."""
        foolbox = import_module("foolbox")
        criteria = import_module("foolbox.criteria")
        if targets is not None and not self.takes_targets:
            raise InputError(f"foolbox's {self.name} is untargeted; leave targets out")
        goal = (
            criteria.Misclassification(labels)
            if targets is None
            else criteria.TargetedMisclassification(targets)
        )
        with self.alone(clf, images):
            peer = foolbox.PyTorchModel(clf, bounds=(0, 1), device=images.device)
            _, clipped, _ = self.attack(peer, images, goal, epsilons=list(epsilons))
        return torch.stack([each.detach() for each in clipped])

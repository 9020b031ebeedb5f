"""A callback of Lightning's that watches a training; Lightning itself need not be installed."""

import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from operator import attrgetter
from typing import Any, Protocol

import numpy as np
from PIL import Image
from torch import nn

from lookaway.errors import InputError, ModelError, PackageError

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")
PER = ("step", "epoch")


class Reading(Protocol):
    """What is logged: numbers by name, and a picture."""

    @property
    def picture(self) -> Image.Image | None:
        """It, or None."""

    def items(self) -> Any:
        """Names and numbers."""


Watch = Callable[[nn.Module, int], Reading | None]


def callback_of(watch: Watch, per: str, network: str | None, prefix: str) -> Any:
    """A Lightning ``Callback`` that asks at each step or epoch, and logs what comes.

    Args:
        watch: gets a network and the number of the step or epoch; gives None where none is due.
        per: ``step`` (of the optimiser) or ``epoch``; either way also before the first.
        network: where in the LightningModule the network is, such as ``"model"``; None: it itself.
        prefix: of the names that are logged.

    Raises:
        InputError: there is no such ``per``.
        PackageError: Lightning is not installed.
    """
    if per not in PER:
        raise InputError(f"per={per!r} is unknown; possible: {', '.join(PER)}")
    return _kind(_bases())(watch, per, network, prefix)


def _bases() -> tuple[type, ...]:
    """Lightning's class; of both packages where both are in use, for each has a trainer."""
    loaded = [name for name in _PACKAGES if sys.modules.get(name)]
    if loaded:
        return tuple(import_module(name).Callback for name in loaded)
    for name in _PACKAGES:
        try:
            return (import_module(name).Callback,)
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise
    raise PackageError(
        "neither lightning nor pytorch_lightning is installed; `pip install lightning` brings it. "
        "Without it, call the monitor in the loop"
    )


@cache
def _kind(bases: tuple[type, ...]) -> type:
    return type("ShiftMonitorCallback", (_Hooks, *bases), {"__module__": __name__})


class _Hooks:
    """What Lightning calls."""

    def __init__(self, watch: Watch, per: str, network: str | None, prefix: str) -> None:
        self._given = watch, per, network, prefix
        self._before: int | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Made anew in another process, whose class is its own."""
        return callback_of, self._given

    def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Before the first step; of a training that goes on, before its next."""
        per = self._given[1]
        self._ask(trainer, pl_module, trainer.global_step if per == "step" else 0)

    def on_train_batch_end(
        self, trainer: Any, pl_module: nn.Module, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After each step of the optimiser, which may take several batches."""
        if self._given[1] == "step" and trainer.global_step != self._before:
            self._log(pl_module, self._ask(trainer, pl_module, trainer.global_step), on_step=True)

    def on_train_epoch_end(self, trainer: Any, pl_module: nn.Module) -> None:
        """After each epoch."""
        if self._given[1] == "epoch":
            found = self._ask(trainer, pl_module, trainer.current_epoch + 1)
            self._log(pl_module, found, on_step=False)

    def _ask(self, trainer: Any, pl_module: nn.Module, number: int) -> Reading | None:
        watch, _, network, prefix = self._given
        self._before = trainer.global_step
        found = watch(_network(pl_module, network), number)
        if found is None or not trainer.is_global_zero:
            return found
        step = trainer.global_step  # the axis of everything else that Lightning logs
        for logger in trainer.loggers:
            logger.log_metrics({f"{prefix}{name}": value for name, value in found.items()}, step)
            if found.picture is not None:
                _show(logger, f"{prefix}picture", found.picture, step)
        return found

    def _log(self, pl_module: Any, found: Reading | None, *, on_step: bool) -> None:
        """For those who read ``callback_metrics``, such as ``ModelCheckpoint``."""
        if found is not None:
            numbers = {f"{self._given[3]}{name}": value for name, value in found.items()}
            pl_module.log_dict(
                numbers, logger=False, on_step=on_step, on_epoch=not on_step, batch_size=1
            )


def _network(pl_module: nn.Module, name: str | None) -> nn.Module:
    try:
        found = pl_module if name is None else attrgetter(name)(pl_module)
    except AttributeError as error:
        parts = ", ".join(each for each, _ in pl_module.named_children())
        raise InputError(
            f"network={name!r} is no part of {type(pl_module).__name__}; it has: {parts}"
        ) from error
    if not isinstance(found, nn.Module):
        raise ModelError(f"{name} of {type(pl_module).__name__} is a {type(found).__name__}")
    return found


def _show(logger: Any, name: str, picture: Image.Image, step: int) -> None:
    """Log a picture where a logger has a way to: W&B's, TensorBoard's and MLflow's have."""
    if hasattr(logger, "log_image"):
        logger.log_image(key=name, images=[picture], step=step)
        return
    experiment: Any = getattr(logger, "experiment", None)
    if hasattr(experiment, "add_image"):
        experiment.add_image(name, np.asarray(picture), step, dataformats="HWC")
    elif hasattr(experiment, "log_image"):
        experiment.log_image(logger.run_id, picture, key=name, step=step)

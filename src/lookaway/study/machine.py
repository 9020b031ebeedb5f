"""Where a study's models work: its devices, their memory, and the batch size that follows."""

import os
from dataclasses import dataclass, replace

import torch

from lookaway.errors import ModelError

# The most images in a pass, and the part of the memory that may hold the activations twice: larger
# batches gain nothing on a processor, which has other work too.
_LIMITS = {"cpu": (8, 1 / 8), "cuda": (256, 1 / 4)}

_MANY = 200  # images, times models: what several processes save is more than their start takes
_OF_PROCESS = 4 * 2**30  # bytes of a processor's memory that each of several processes needs
_IN_RULE = 4  # so many processes may each fill what the rule of the batch size gives to one


@dataclass(frozen=True)
class Machine:
    """Where a study's models work.

    Attributes:
        device: of PyTorch, as the plan has it: ``cpu``, ``cuda`` or ``cuda:1``.
        devices: one, or several of one kind, of which each has a process of its own; of a
            processor ``cpu`` as often as it does cells side by side, a thread each.
        memory: bytes that each has in all, whatever of it is free.
    """

    device: str
    devices: tuple[str, ...]
    memory: int

    @classmethod
    def found(cls, asked: str) -> "Machine":
        """What a study's ``run.device`` means on this machine.

        Raises:
            ModelError: there is no such device, or those of ``all`` differ.
        """
        there = cards()
        if asked == "all" and there:
            devices = _alike(there)
            return cls(devices[0].partition(":")[0], devices, _memory(devices[0]))
        if asked == "all":
            return cls.found("cpu").in_processes()
        device = ("cuda" if there else "cpu") if asked == "auto" else asked
        if device.startswith("cuda") and int(device.partition(":")[2] or 0) >= len(there):
            possible = ", ".join(["auto", "cpu", *there])
            raise ModelError(
                f"got {asked!r}, which this machine does not have; possible: {possible}"
            )
        return cls(device, (device,), _memory(device))

    def in_processes(self, images: int = _MANY) -> "Machine":
        """A processor in several processes, where so many images, times models, are worth it.

        As many as PyTorch has threads and memory holds. Small operations and small batches make
        threads wait for each other; processes of one thread each do not, and what they find does
        not depend on how many there are.
        """
        if self.device != "cpu" or images < _MANY:
            return self
        count = max(1, min(torch.get_num_threads(), self.memory // _OF_PROCESS))
        memory = self.memory * _IN_RULE // max(_IN_RULE, count)
        return replace(self, devices=("cpu",) * count, memory=memory)

    def batch_size(self, activation_bytes: int, most: int) -> int:
        """A fixed rule of the network, the kind of device and its memory: never of what is free.

        The largest power of two, up to 8 on a processor and 256 on CUDA, for which an eighth, on
        CUDA a quarter, of the memory holds the network's activations twice.

        Args:
            activation_bytes: of one image.
            most: images that are ever measured together.

        >>> Machine("cuda", ("cuda",), 80 * 2**30).batch_size(100 * 2**20, most=256)
        64
        """
        largest, share = _LIMITS[self.device.partition(":")[0]]
        fits = share * self.memory / (2 * activation_bytes)
        batch = largest
        while batch > 1 and batch > min(fits, most):
            batch //= 2
        return batch


def cards() -> list[str]:
    """The machine's CUDA devices."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [f"cuda:{index}" for index in range(count)]


def _alike(devices: list[str]) -> tuple[str, ...]:
    """Devices that compute the same.

    Raises:
        ModelError: they are of several kinds.
    """
    kinds = {each: _kind(each) for each in devices}
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{each} {kind}" for each, kind in kinds.items())
        raise ModelError(
            f"got 'all', and the GPUs are of several kinds ({told}), so that rows would depend on "
            "which of them made them; name one"
        )
    return tuple(devices)


def _kind(device: str) -> str:
    if device == "cpu":
        return device
    about = torch.cuda.get_device_properties(device)
    return f"{about.name}, {about.total_memory / 2**30:.0f} GiB"


def _memory(device: str) -> int:
    if device != "cpu":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        return 8 * 2**30  # a system that does not tell

"""What networks compute in: exact float32 on every device, TensorFloat-32, or bfloat16."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch

PRECISIONS = ("float32", "tf32", "bfloat16")
# Where PyTorch (2.9 and later) keeps what float32 means: "ieee" is exact, "none" asks the setting
# above it.
_PLACES = [
    (backend, operation)
    for backend, operations in {
        "cuda": ["matmul"],
        "cudnn": ["conv", "rnn"],
        "mkldnn": ["matmul", "conv", "rnn"],
    }.items()
    for operation in operations
    if hasattr(torch.backends.cudnn, "conv")
]


@contextmanager
def computing(precision: str = "float32") -> Iterator[None]:
    """Let float32 be exact on every device, then put the caller's settings back.

    PyTorch's default for convolutions on CUDA is TensorFloat-32, whose factors have 10 bits. The
    settings are those of the whole process.

    Args:
        precision: ``float32`` or ``bfloat16``, whose float32 parts are exact; ``tf32``:
            TensorFloat-32 for convolutions and products on CUDA.

    >>> with computing("float32"):
    ...     torch.backends.cudnn.allow_tf32
    False
    """
    before = _settings()
    wanted = {key: _wanted(key, tf32=precision == "tf32") for key in before}
    if wanted == before:  # as inside another such context
        yield
        return
    try:
        _apply(wanted)
        yield
    finally:
        _apply(before)


def fast_bfloat16(device: str) -> bool:
    """Whether a device computes in bfloat16 faster than in float32."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())


def _settings() -> dict[Any, Any]:
    """The process's settings; without the older ones where they contradict the newer."""
    found: dict[Any, Any] = {}
    with suppress(RuntimeError):  # PyTorch does not tell them then
        found["matmul"] = torch.get_float32_matmul_precision()
    with suppress(RuntimeError):
        found["conv"] = torch.backends.cudnn.allow_tf32
    for place in _PLACES:
        found[place] = _holder(*place).fp32_precision
    return found


def _wanted(key: Any, *, tf32: bool) -> Any:
    if key == "matmul":
        return "high" if tf32 else "highest"
    if key == "conv":
        return tf32
    return "tf32" if tf32 and key[0] != "mkldnn" else "ieee"


def _apply(settings: Mapping[Any, Any]) -> None:
    """Set them, the older ones first: they change the newer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older ones are announced to go
        if "matmul" in settings:
            torch.set_float32_matmul_precision(settings["matmul"])
        if "conv" in settings:
            torch.backends.cudnn.allow_tf32 = settings["conv"]
    for place in _PLACES:
        _holder(*place).fp32_precision = settings[place]


def _holder(backend: str, operation: str) -> Any:
    return getattr(getattr(torch.backends, backend), operation)

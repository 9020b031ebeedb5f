"""Content hashes: the identity of images, weights and settings, and what follows from it."""

import hashlib
import json
from typing import Any

import numpy as np


def digest(*parts: bytes | str) -> str:
    """SHA-256 of parts, each set apart by its length, as 64 hex digits.

    >>> digest("ab", "c") == digest("a", "bc")
    False
    """
    hasher = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        hasher.update(len(raw).to_bytes(8, "little"))
        hasher.update(raw)
    return hasher.hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of plain data, whatever the order of its keys."""
    return digest(json.dumps(value, sort_keys=True, ensure_ascii=False))


def seed_from(*parts: object) -> int:
    """A seed of 63 bits that follows from the parts alone, on every machine.

    >>> seed_from(0, "head") == seed_from(0, "head")
    True
    """
    return int(digest(*(str(part) for part in parts))[:16], 16) >> 1


def random_signs(seed: int, pixels: np.ndarray) -> np.ndarray:
    """Random signs that follow from a seed and an image's content alone: the noise control's.

    The bits of SHAKE-256 over the seed and the pixels, on every machine.

    Args:
        seed: another seed, other signs.
        pixels: (C, H, W) float32 in [0, 1].

    Returns:
        int8 of the same shape: −1 or 1.
    """
    hasher = hashlib.shake_256(f"lookaway sign noise {seed}\n".encode())
    hasher.update(np.ascontiguousarray(pixels, dtype="<f4").data)
    raw = np.frombuffer(hasher.digest(-(-pixels.size // 8)), dtype=np.uint8)
    bits = np.unpackbits(raw, count=pixels.size).astype(np.int8)
    signs: np.ndarray = (2 * bits - 1).reshape(pixels.shape)
    return signs

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

    The bits of Philox, a counter-based generator, whose key is the hash of the seed and of the
    pixels as bytes: the same on every machine, whatever was drawn before.

    Args:
        seed: another seed, other signs.
        pixels: (C, H, W) float32 in [0, 1], or the same as uint8.

    Returns:
        int8 of the same shape: −1 or 1.

    >>> grey = np.full((1, 2, 4), 0.5, dtype=np.float32)
    >>> random_signs(0, grey).tolist() == random_signs(0, grey.copy()).tolist()
    True
    """
    drawn = _drawn(f"sign noise {seed}", pixels, -(-pixels.size // 64))
    bits = np.unpackbits(drawn.view(np.uint8), count=pixels.size).astype(np.int8)
    signs: np.ndarray = (2 * bits - 1).reshape(pixels.shape)
    return signs


def random_shift(seed: int, number: int, pixels: np.ndarray) -> tuple[int, int]:
    """A random way that follows from a seed, a number and an image's content alone.

    Uniform, along each axis, from a sixth to five sixths of the side, so that what goes round the
    edges is always at least a sixth of the side away from where it was. From Philox, as
    ``random_signs``.

    Args:
        seed: another seed, another way.
        number: of the replicate.
        pixels: (C, H, W) float32 in [0, 1].

    Returns:
        How many pixels down, and right.

    >>> down, right = random_shift(0, 1, np.zeros((3, 60, 120), dtype=np.float32))
    >>> 10 <= down <= 50, 20 <= right <= 100
    (True, True)
    """
    least = [-(-side // 6) for side in pixels.shape[1:]]
    counts = [
        max(1, 5 * side // 6 - few + 1) for side, few in zip(pixels.shape[1:], least, strict=True)
    ]
    drawn = _drawn(f"shift {seed} {number}", pixels, 2).tolist()
    down, right = (
        few + each % count for few, each, count in zip(least, drawn, counts, strict=True)
    )
    return down, right


def _drawn(purpose: str, pixels: np.ndarray, count: int) -> np.ndarray:
    """So many random numbers, little-endian uint64, for a purpose and an image's content."""
    quantised = pixels
    if pixels.dtype != np.uint8:
        quantised = np.rint(np.asarray(pixels, dtype=np.float32) * 255).astype(np.uint8)
    key = int(digest(purpose, repr(quantised.shape), quantised.tobytes())[:32], 16)
    return np.random.Philox(key=key).random_raw(count).astype("<u8")

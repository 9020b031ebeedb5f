"""Content hashes: the identity of images, weights and settings."""

import hashlib
import json
from typing import Any


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

"""A file's SHA-256, embedded in the file: whoever reads it notices that it was cut or altered.

A writer puts a ``placeholder`` anywhere into the file, as text, and hands the whole content to
``embed``. File and checksum are one, so that both appear at once, on every kind of storage. The
file's name is a part of what is hashed: one that lies where another belongs is noticed too.
"""

import re
import secrets

from lookaway.hashing import digest

_MARK = "lookaway:"
_ZEROS = b"0" * 64
_EMBEDDED = re.compile(rb"lookaway:([0-9a-f]{64})")


def placeholder() -> str:
    """Text that the checksum replaces; it stands nowhere else in the file."""
    return _MARK + secrets.token_hex(32)


def embed(raw: bytes, place: str, name: str) -> bytes:
    """A file's content with its checksum in the place of its placeholder; its name has no folder.

    >>> place = placeholder()
    >>> is_whole(embed(b"some text " + place.encode(), place, "a.txt"), "a.txt")
    True
    """
    mark = place.removeprefix(_MARK).encode()
    return raw.replace(mark, _checksum(raw, mark, name))


def is_whole(raw: bytes, name: str) -> bool:
    """Whether a file is, to the last bit, what was written under its name."""
    return any(_checksum(raw, found, name) == found for found in set(_EMBEDDED.findall(raw)))


def _checksum(raw: bytes, mark: bytes, name: str) -> bytes:
    return digest(name, "\0", raw.replace(mark, _ZEROS)).encode()

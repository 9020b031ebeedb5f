"""A file's checksum, kept in the file itself: whoever reads it notices that it was cut or altered.

A writer asks for a ``slot``, puts it anywhere in the file as text, and hands the whole file to
``sealed``. In one file, so that both appear at once, on every kind of storage.
"""

import re
import secrets

from lookaway.hashing import digest

_MARK = "lookaway:"
_ZEROS = b"0" * 64
_FOUND = re.compile(rb"lookaway:([0-9a-f]{64})")


def slot() -> str:
    """A place for the checksum, which stands nowhere else in the file."""
    return _MARK + secrets.token_hex(32)


def sealed(raw: bytes, place: str) -> bytes:
    """A file's content with its checksum in the place of its slot.

    Args:
        raw: the content, with the slot in it.
        place: the slot.

    >>> place = slot()
    >>> is_sealed(sealed(b"some text " + place.encode(), place))
    True
    """
    mark = place.removeprefix(_MARK).encode()
    return raw.replace(mark, _checksum(raw, mark))


def is_sealed(raw: bytes) -> bool:
    """Whether a file is, to the last bit, what was sealed."""
    return any(_checksum(raw, found) == found for found in set(_FOUND.findall(raw)))


def _checksum(raw: bytes, mark: bytes) -> bytes:
    return digest(raw.replace(mark, _ZEROS)).encode()

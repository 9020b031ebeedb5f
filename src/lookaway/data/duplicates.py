"""Images whose files have the same content, where that spoils what a study measures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lookaway.data.folder import Record

_LISTED = 20  # contents that are named
_NAMES = 5  # of each, where it stands in so many classes


@dataclass(frozen=True)
class Duplicates:
    """Contents that stand in several parts, or in several classes.

    Attributes:
        count: how many contents.
        images: of the first ones, an image with this content by part or class.
    """

    count: int
    images: list[dict[str, str]]


def duplicates(parts: Mapping[str, Sequence[Record]]) -> dict[str, Duplicates]:
    """Contents that stand in more than one part (a leak), or in more than one class.

    Returns:
        Those ``across_parts`` and those ``across_classes``; and, where a class has several
        subjects, those ``subjects_across_parts``.
    """
    by_content: dict[str, list[tuple[str, Record]]] = {}
    for part, records in parts.items():
        for record in records:
            by_content.setdefault(record.sha256, []).append((part, record))
    several = [found for found in by_content.values() if len(found) > 1]
    found = {
        "across_parts": _told(several, lambda part, _: part),
        "across_classes": _told(several, lambda _, record: record.label),
    }
    by_subject: dict[str, list[tuple[str, Record]]] = {}
    for part, records in parts.items():
        for record in records:
            if record.subject is not None:
                by_subject.setdefault(record.subject, []).append((part, record))
    # Where each subject is a class of its own, as in face recognition, it belongs in every part.
    if len(by_subject) > len({record.label for each in by_subject.values() for _, record in each}):
        found["subjects_across_parts"] = _told(list(by_subject.values()), lambda part, _: part)
    return found


def warnings(found: Mapping[str, Duplicates]) -> list[str]:
    """What ``duplicates`` found, as lines for the user; none where all is well."""
    told = {
        "across_parts": "the same content is in more than one of train, val and test, so that "
        "models are measured on what they learnt from",
        "across_classes": "the same content is in more than one class, so that one of its labels "
        "is wrong",
        "subjects_across_parts": "the same subject is in more than one of train, val and test, so "
        "that models are measured on whom they learnt from",
    }
    lines = []
    for kind, why in told.items():
        about = found.get(kind, Duplicates(0, []))
        named = [
            " = ".join(f"{image!r} ({key})" for key, image in images.items())
            for images in about.images[:3]
        ]
        if named:
            more = "; …" if about.count > 3 else ""
            lines.append(f"{why} ({about.count}): {'; '.join(named)}{more}")
    return lines


def _told(
    several: Sequence[Sequence[tuple[str, Record]]], key: Callable[[str, Record], str]
) -> Duplicates:
    chosen = []
    for same in several:
        images = {key(part, record): record.image for part, record in reversed(same)}
        if len(images) > 1:
            chosen.append(dict(list(reversed(images.items()))[:_NAMES]))
    return Duplicates(len(chosen), chosen[:_LISTED])

"""How the images were prepared: how many faces were found, and numbers on the same images."""

import polars as pl

from lookaway.analysis import summary
from lookaway.analysis.frames import Frames
from lookaway.report.levels import POLICY, by_level
from lookaway.report.table import Cell, Row, Table

_SECTION = "Preparation of the images"


def preparation(frames: Frames) -> list[Table]:
    """Faces found by each variant, and accuracy and MOD on the images that all variants have.

    Args:
        frames: of a run.

    Returns:
        Nothing where the images were used as they are.
    """
    variants = frames.plan.variants
    if list(variants) == ["none"]:
        return []
    return [_faces(frames), *_shared(frames)]


def _faces(frames: Frames) -> Table:
    dropped = frames.plan.settings.data.without_face == "drop"
    total = sum(about.count for _, about in frames.plan.images)
    rows = []
    for name, about in frames.plan.variants.items():
        unseen = about.without_face
        found = None if name == "none" else float(total - unseen)
        aside = float(unseen) if dropped else 0.0
        test = float(about.images.test.count)
        cells = (total - aside, found, unseen - aside, aside, test)
        rows.append(Row((name,), tuple(map(Cell, cells))))
    return Table(
        "preparation",
        "Faces found",
        "none: images as they are, their centre cut out. cascade: the largest face that a cascade "
        "of local binary patterns finds. landmarks: turned and scaled by five points. Where no "
        "face is found, the centre is cut out or the image is set aside, as the study says.",
        ("images", "used", "with a face", "centre cut out instead", "set aside", "test images"),
        tuple(rows),
        (".0f",),
        _SECTION,
    )


def _shared(frames: Frames) -> list[Table]:
    shared = frames.shared
    if shared is None:
        return []
    where = f"on the {shared.accuracy['n'][0]} test images that every variant has"
    accuracy = by_level(
        "accuracy_shared",
        f"Accuracy {where}",
        "Variants differ in their images where no face was found; these are the same for all.",
        summary.by_scope(shared.accuracy),
        "accuracy",
        form="%",
        section=_SECTION,
    )
    mods = shared.last(shared.mod).filter(pl.col("pairs") == "all")
    return [
        accuracy,
        *(
            by_level(
                f"mod_shared_{policy}",
                f"MOD {where}, explained class: {policy}",
                POLICY[policy],
                summary.by_scope(mods.filter(pl.col("explained_class") == policy)),
                "mod",
                mean=True,
                section=_SECTION,
            )
            for policy in frames.ordered_policies
        ),
    ]

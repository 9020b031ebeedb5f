"""What a reader must know before believing a run's numbers, in sentences."""

import polars as pl

from lookaway.analysis.frames import Frames
from lookaway.controls import OTHER_CLASS, SAME_CLASS, SHIFTED, Control
from lookaway.perturbation import NOISE, OWN_SIZE, made_by, own_size_noise
from lookaway.report.by_class import class_warnings
from lookaway.report.findings import findings, meaningless
from lookaway.report.loading import doubts
from lookaway.report.masked import masked
from lookaway.report.wording import of_method
from lookaway.study import overfitting
from lookaway.written import percent

TOO_MANY = 0.01  # of the images
APART = 0.1  # of the RMS of what reaches a network


def warnings(frames: Frames) -> list[str]:
    """The warnings of a run; none where all is well."""
    return [
        *filter(None, [meaningless(frames)]),
        *doubts(frames),
        *_overfitted(frames),
        *class_warnings(frames),
        *_not_attacked(frames),
        *_weaker(frames),
        *_alone(frames),
        *masked(frames),
    ]


def _overfitted(frames: Frames) -> list[str]:
    """What is doubtful about adversarial trainings."""
    trained, classes = frames.store.trained(), len(frames.plan.classes)
    return [line for each in trained.values() for line in overfitting.doubts(each, classes)]


def _not_attacked(frames: Frames) -> list[str]:
    """Models and perturbations that leave more than one image in a hundred as it was."""
    found = findings(frames, "unattacked").filter(
        pl.col("value") > TOO_MANY,
        ~pl.col("attack").str.starts_with(OWN_SIZE.format("")),
        pl.col("scope") != pl.format("{} from {}", "attack", "model"),  # its white-box row again
    )
    if found.is_empty():
        return []
    mods = findings(frames, "mod").filter(explained_class=frames.policy)
    keys = ("variant", "model", "scope", "epsilon")
    means = {
        (pairs, *setting): mod
        for pairs, *setting, mod in mods.select("pairs", *keys, "value").iter_rows()
    }
    lines = []
    for row in found.iter_rows(named=True):
        setting = [row[key] for key in keys]
        with_them, without = (means.get((pairs, *setting)) for pairs in ("all", "attacked"))
        rest = "none is left without them" if without is None else f"{without:.3f} without them"
        where = f" ({row['variant']})" if frames.several_variants else ""
        lines.append(
            f"{row['model']}{where}, {row['scope']}, ε = {row['epsilon']:g}: no pixel was changed "
            f"in {round(row['value'] * row['n'])} of {row['n']} images "
            f"({percent(row['value'], 1)}), as where the gradient is exactly zero. That is no "
            f"stability: MOD{of_method(frames)} is {with_them:.3f} with them, {rest}"
        )
    return lines


def _weaker(frames: Frames) -> list[str]:
    """Controls of which a network gets clearly less, or more, than of the attack."""
    found = frames.reached.filter(measure="rms")
    of_attacks = found.filter(pl.col("source").is_not_null())
    controls = found.filter(pl.col("source").is_null())
    known = {
        (row["variant"], row["model"], row["epsilon"], row["attack"]): row["value"]
        for row in controls.iter_rows(named=True)
    }
    most: dict[tuple[str, ...], str] = {}
    for row in of_attacks.iter_rows(named=True):
        whose = made_by(row["attack"], None if row["source"] == row["model"] else row["source"])
        own = own_size_noise(whose)
        here = row["variant"], row["model"], row["epsilon"]
        noise = own if (*here, own) in known else NOISE
        for control in (noise, Control(SHIFTED, 1, whose).together):
            rms = known.get((*here, control))
            if rms is None or not row["value"]:
                continue
            apart = rms / row["value"] - 1
            line = (
                f"{percent(abs(apart))} {'less' if apart < 0 else 'more'} of {control} than of "
                f"{whose} is left where it reaches the network (RMS {rms:.3f} and "
                f"{row['value']:.3f} of its normalised input at ε = {row['epsilon']:g}): there "
                "they are not of one size"
            )
            key = row["variant"], row["model"], whose, control
            if abs(apart) > APART:  # at the largest such ε
                most[key] = line
    return [
        f"{model}{f' ({variant})' if frames.several_variants else ''}: {line}"
        for (variant, model, *_), line in most.items()
    ]


def _alone(frames: Frames) -> list[str]:
    """Transplants that were asked for and no image has."""
    if not frames.settings.controls.transplanted:
        return []
    kinds = {SAME_CLASS: "another image of its class", OTHER_CLASS: "an image of another class"}
    found = frames.aimed["control"].unique().to_list()
    return [
        f"there are no {kind}s, for no test image has {whom} in its cell of at most "
        f"{frames.plan.shard} images"
        for kind, whom in kinds.items()
        if kind not in found
    ]

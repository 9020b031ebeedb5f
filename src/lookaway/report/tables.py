"""Which tables a run has: findings to tables."""

from collections.abc import Iterator
from dataclasses import replace

import polars as pl

from lookaway.analysis import dead, summary
from lookaway.analysis.frames import Frames
from lookaway.metrics.shuffled import OTHER_CLASS, SAME_CLASS
from lookaway.report.by_class import class_tables, confusion_table
from lookaway.report.curves import SHUFFLED
from lookaway.report.detail_tables import detail_tables
from lookaway.report.face_tables import face_tables
from lookaway.report.findings import findings
from lookaway.report.group_tables import group_tables
from lookaway.report.pivot import by_level, pivoted
from lookaway.report.placed import common_size, placed_tables, sizes_differ
from lookaway.report.table import Cell, Row, Table
from lookaway.report.verified import shift_tables, verification_tables
from lookaway.report.wording import AIMED, BASELINE, method_ending, of_method, whose_noise
from lookaway.study.keys import trained_name

_POLICY = {
    "own": "Each map explains the class predicted for that very image.",
    "clean": "Both maps explain the class predicted for the clean image.",
    "label": "Both maps explain the true class.",
}
_PREPARATION = "Preparation of the images"


def all_tables(frames: Frames) -> list[Table]:
    """What the shift means, then the numbers by ε, preparation, and drift in bfloat16.

    Of each method; what holds for all of them once.
    """
    found = [table for one in frames.each_method for table in _tables(one)]
    for one in frames.each_method:
        told = group_tables(one, frames.by_group)
        found += [table if table.of_images else _named(one, table) for table in told]
    return [*{table.name: table for table in found}.values()]


def _tables(frames: Frames) -> Iterator[Table]:
    yield headline_table(frames)
    details = [
        table
        for policy in frames.ordered_policies
        for table in (*placed_tables(frames, policy), *detail_tables(frames, policy))
    ]
    classes = [
        table for policy in frames.ordered_policies for table in class_tables(frames, policy)
    ]
    details = [*classes, *details, *confusion_table(frames)]
    yield from verification_tables(frames)
    details = [*shift_tables(frames), *face_tables(frames), *details]
    for table in [*details, *_by_level(frames), *_preparation(frames), *_drift(frames)]:
        yield table if table.of_images else _named(frames, table)


def _named(frames: Frames, table: Table) -> Table:
    """A table that says its method, where the study has several."""
    if len(frames.methods) < 2:
        return table
    name, title = table.name + method_ending(frames), table.title + of_method(frames)
    return replace(table, name=name, title=title, method=frames.method)


def headline_table(frames: Frames) -> Table:
    """Each model's excesses, MOD and VID, for each explained class: the run in one table.

    MOD stands behind the share of dead pairs and MOD of living ones, where the run has dead maps.
    """
    form = {"excess": ("excess", "+.3f")}
    form |= {"aimed": ("aimed", "+.3f")} if frames.shifted else {}
    if frames.counts[1]:
        form |= {dead.DEAD: ("dead pairs", "%"), dead.MOD_LIVING: ("MOD, living pairs", ".3f")}
    form |= {"mod": ("MOD", ".3f")}
    if sizes_differ(frames):
        form |= {"mod_common": (f"MOD at {common_size(frames)}", ".3f")}
    form |= {"vid_image": ("VID", ".3f")}
    about_dead = f" {dead.RULE}." if frames.counts[1] else ""
    aimed = f"aimed: {AIMED} " if frames.shifted else ""
    top = pl.col("epsilon").eq(frames.top).fill_null(value=True)
    table = Table(
        "headline",
        f"Headline at ε = {frames.top:g}",
        f"excess: MOD under attack less MOD under noise of the same size. {aimed}VID: standard "
        f"deviation of each image's dissimilarity over the ε levels, then the mean.{about_dead}",
        *pivoted(
            frames,
            findings(frames, *form).filter(top, pairs="all"),
            {
                (policy, measure): (f"{head}, {policy}", shown)
                for policy in frames.ordered_policies
                for measure, (head, shown) in form.items()
            },
            by=("explained_class", "measure"),
        ),
        section="Headline",
    )
    return _named(frames, table)


def _by_level(frames: Frames) -> Iterator[Table]:
    yield Table(
        "accuracy",
        "Accuracy",
        "Share of test images whose predicted class is the true one; ε = 0 is the clean image.",
        *by_level(frames, findings(frames, "accuracy"), "%"),
        of_images=True,
    )
    for policy in frames.ordered_policies:
        yield from _of_policy(frames, policy)
    ways = {f"vid_{way}": way for way in summary.VID_WAYS}
    yield Table(
        "vid",
        "VID",
        "Standard deviation of NISSIM over the ε levels. image: of each image, then the mean; "
        "level: of the MOD curve; pooled: of all images and levels together.",
        *pivoted(
            frames,
            findings(frames, *ways).filter(pairs="all"),
            {
                (policy, measure): (f"{policy}, {way}", ".3f")
                for policy in frames.policies
                for measure, way in ways.items()
            },
            by=("explained_class", "measure"),
        ),
    )
    for policy in frames.ordered_policies:
        found = findings(frames, "deviation").filter(explained_class=policy, pairs="all")
        yield Table(
            f"spread_{policy}",
            f"Spread of NISSIM over the images, explained class: {policy}",
            "Population standard deviation of NISSIM over the test images at one ε.",
            *by_level(frames, found),
        )
    yield Table(
        "psnr",
        "PSNR (dB)",
        "How strong the change of the pixels is, peak 1; higher is weaker.",
        *by_level(frames, findings(frames, "psnr"), ".2f"),
        of_images=True,
    )
    if not frames.reached.is_empty():
        yield _reached(frames)
    yield Table(
        "unattacked",
        "Images that were not attacked",
        "Share of test images of which no pixel was changed, as where the gradient is exactly "
        "zero: their dissimilarity of 0 is no stability.",
        *by_level(frames, findings(frames, "unattacked"), "%"),
        of_images=True,
    )


def _reached(frames: Frames) -> Table:
    """What of each change reaches the network, at the largest ε."""
    found = summary.by_scope(frames.reached).filter(epsilon=frames.top)
    columns = {"rms": ("RMS", ".3f"), "linf": ("L∞", ".3f")}
    return Table(
        "reached",
        f"What reaches the network at ε = {frames.top:g}",
        "The change of the model's own input, after its resizing and normalisation: the root of "
        "the mean square, and the largest, each averaged over the images. Resizing leaves less of "
        "random signs than of a smooth change.",
        *pivoted(frames, found, {(name,): column for name, column in columns.items()}),
        of_images=True,
    )


def _of_policy(frames: Frames, policy: str) -> Iterator[Table]:
    """MOD and excess of one explained class."""
    found = findings(frames, "mod", "excess", "aimed").filter(explained_class=policy)
    if frames.counts[1]:
        yield Table(
            f"dead_{policy}",
            f"Pairs in which a map is dead, explained class: {policy}",
            f"A dead map holds no evidence for its class. {dead.RULE}, so MOD is to be read as "
            f"this share and the MOD of living pairs, below. {_POLICY[policy]}",
            *by_level(frames, findings(frames, dead.DEAD).filter(explained_class=policy), "%"),
        )
    for pairs in ["all", "alive"] if frames.counts[1] else ["all"]:
        suffix, without = ("", "") if pairs == "all" else ("_alive", ", without dead maps")
        mods = found.filter(measure="mod", pairs=pairs)
        shuffled = _shuffled(frames, explained_class=policy, pairs=pairs)
        yield Table(
            f"mod_{policy}{suffix}",
            f"MOD, explained class: {policy}{without}",
            "Mean dissimilarity (NISSIM) of the clean and the attacked heatmap: 0 the same, "
            f"towards 1 dissimilar. {_POLICY[policy]} {BASELINE[policy]}",
            *by_level(frames, pl.concat([mods, shuffled], how="diagonal"), mean=True),
        )
        yield Table(
            f"excess_{policy}{suffix}",
            f"Excess shift, explained class: {policy}{without}",
            "Each image's dissimilarity under attack less that under noise of the same ε, "
            f"averaged. {_POLICY[policy]} {whose_noise(frames, frames.attacks)}".rstrip(),
            *by_level(frames, found.filter(measure="excess", pairs=pairs), "+.3f", mean=True),
        )
        if frames.shifted:
            yield Table(
                f"aimed_{policy}{suffix}",
                f"Aimed excess, explained class: {policy}{without}",
                f"{AIMED} {_POLICY[policy]}",
                *by_level(frames, found.filter(measure="aimed", pairs=pairs), "+.3f", mean=True),
            )
    if frames.unattacked["unattacked"].max():
        yield Table(
            f"mod_{policy}_attacked",
            f"MOD, explained class: {policy}, without images that were not attacked",
            f"Without the images of which the attack changed no pixel. {_POLICY[policy]}",
            *by_level(frames, found.filter(pairs="attacked"), mean=True),
        )


def _shuffled(frames: Frames, **used: str) -> pl.DataFrame:
    """The shuffled baseline as lines of the table of MOD: the same at every ε."""
    names = {OTHER_CLASS: SHUFFLED, SAME_CLASS: f"{SHUFFLED}, same class"}
    found = frames.last(frames.shuffled).filter(pl.col("relation").is_in(list(names)), **used)
    lines = found.with_columns(scope=pl.col("relation").replace_strict(names))
    levels = pl.DataFrame({"epsilon": frames.epsilons})
    return lines.rename({"shuffled": "value"}).join(levels, how="cross")


def _preparation(frames: Frames) -> Iterator[Table]:
    """Faces found in each variant, and accuracy and MOD on the images that all variants have."""
    if frames.variants == ["none"]:
        return
    yield _faces(frames)
    shared = frames.shared
    if shared is None:
        return
    where = f"on the {shared.accuracy['n'][0]} test images that every variant has"
    yield Table(
        "accuracy_shared",
        f"Accuracy {where}",
        "Variants differ in their images where no face was found; these are the same for all.",
        *by_level(frames, findings(shared, "accuracy"), "%"),
        _PREPARATION,
        of_images=True,
    )
    for policy in frames.ordered_policies:
        found = findings(shared, "mod").filter(explained_class=policy, pairs="all")
        yield Table(
            f"mod_shared_{policy}",
            f"MOD {where}, explained class: {policy}",
            _POLICY[policy],
            *by_level(frames, found, mean=True),
            _PREPARATION,
        )


def _faces(frames: Frames) -> Table:
    dropped = frames.settings.data.without_face == "drop"
    total = sum(part.count for _, part in frames.plan.images)
    rows = []
    for name, about in frames.plan.variants.items():
        unseen = about.without_face
        found = None if name == "none" else total - unseen
        aside = unseen if dropped else 0
        cells = total - aside, found, unseen - aside, aside, about.images.test.count
        rows.append(Row((name,), tuple(Cell(x if x is None else float(x)) for x in cells)))
    return Table(
        "preparation",
        "Faces found",
        "none: images as they are, their centre cut out. cascade: the largest face that a cascade "
        "of local binary patterns finds. landmarks: turned and scaled by five points. Where no "
        "face is found, the centre is cut out or the image is set aside, as the study says.",
        ("images", "used", "with a face", "centre cut out instead", "set aside", "test images"),
        tuple(rows),
        (".0f",),
        _PREPARATION,
        of_images=True,
    )


def _drift(frames: Frames) -> Iterator[Table]:
    """What computing in bfloat16 changed; nothing for a study in float32."""
    found = frames.store.drifts()
    if found:
        rows = (
            Row(
                (trained_name(each.model, each.variant),),
                tuple(
                    Cell(getattr(each, name)) for name in ("mod", "largest", "classes", "heatmaps")
                ),
            )
            for each in found
        )
        yield Table(
            "drift",
            f"Drift of {frames.settings.run.precision} from float32",
            f"The same {found[0].images} test images in both precisions. MOD: the mean and the "
            "largest of its differences over attacks, ε, layers and explained classes. "
            "predictions: share of clean and attacked images with the same class. heatmaps: mean "
            "difference of a position, clean images.",
            ("model", "MOD, mean", "MOD, largest", "predictions", "heatmaps"),
            tuple(rows),
            (".4f", ".4f", "%", ".4f"),
            "Precision",
            of_images=True,
        )

"""Which tables a run has: frames to tables."""

import polars as pl

from lookaway.analysis import summary
from lookaway.analysis.frames import Frames
from lookaway.report.curves import SHUFFLED
from lookaway.report.evidence import evidence
from lookaway.report.headline import headline_table
from lookaway.report.levels import POLICY, by_level, marked
from lookaway.report.preparation import preparation
from lookaway.report.table import Cell, Row, Table
from lookaway.study.keys import trained_name


def all_tables(frames: Frames) -> list[Table]:
    """What the shift means, then accuracy, MOD, excess, VID, spread and PSNR of the last layers.

    Args:
        frames: of a run.
    """
    policies = frames.ordered_policies
    tables = [headline_table(frames)]
    tables += [table for policy in policies for table in evidence(frames, policy)]
    tables += [
        by_level(
            "accuracy",
            "Accuracy",
            "Share of test images whose predicted class is the true one; ε = 0 is the clean image.",
            summary.by_scope(frames.accuracy),
            "accuracy",
            form="%",
        )
    ]
    for policy in policies:
        for pairs in ["all", "alive"] if frames.counts[1] else ["all"]:
            without = "" if pairs == "all" else ", without dead maps"
            used = (pl.col("explained_class") == policy) & (pl.col("pairs") == pairs)
            chosen = summary.by_scope(frames.last(frames.mod).filter(used))
            tables.append(
                by_level(
                    f"mod_{policy}" + ("" if pairs == "all" else "_alive"),
                    f"MOD, explained class: {policy}{without}",
                    "Mean dissimilarity (NISSIM) of the clean and the attacked heatmap: 0 the "
                    "same, towards 1 dissimilar. " + POLICY[policy],
                    pl.concat([chosen, _unrelated(frames, used)], how="diagonal"),
                    "mod",
                    mean=True,
                )
            )
            over = summary.by_scope(frames.last(frames.excess).filter(used))
            tables.append(
                by_level(
                    f"excess_{policy}" + ("" if pairs == "all" else "_alive"),
                    f"Excess shift, explained class: {policy}{without}",
                    "Each image's dissimilarity under attack less that under noise of the same ε, "
                    "averaged. " + POLICY[policy],
                    over,
                    "excess",
                    mean=True,
                    form="+.3f",
                )
            )
        if frames.unattacked["unattacked"].max():
            used = (pl.col("explained_class") == policy) & (pl.col("pairs") == "attacked")
            tables.append(
                by_level(
                    f"mod_{policy}_attacked",
                    f"MOD, explained class: {policy}, without images that were not attacked",
                    "Without the images of which the attack changed no pixel. " + POLICY[policy],
                    summary.by_scope(frames.last(frames.mod).filter(used)),
                    "mod",
                    mean=True,
                )
            )
    tables.append(_vid(frames))
    for policy in policies:
        chosen = summary.by_scope(
            frames.last(frames.spread).filter(
                (pl.col("explained_class") == policy) & (pl.col("pairs") == "all")
            )
        )
        title = f"Spread of NISSIM over the images, explained class: {policy}"
        note = "Population standard deviation of NISSIM over the test images at one ε."
        tables.append(by_level(f"spread_{policy}", title, note, chosen, "spread"))
    tables.append(
        by_level(
            "psnr",
            "PSNR (dB)",
            "How strong the change of the pixels is, peak 1; higher is weaker.",
            summary.by_scope(frames.psnr),
            "psnr",
            form=".2f",
        )
    )
    tables.append(
        by_level(
            "unattacked",
            "Images that were not attacked",
            "Share of test images of which no pixel was changed, as where the gradient is exactly "
            "zero: their dissimilarity of 0 is no stability.",
            summary.by_scope(frames.unattacked),
            "unattacked",
            form="%",
        )
    )
    return tables + preparation(frames) + _drift(frames)


def _drift(frames: Frames) -> list[Table]:
    """What computing in bfloat16 changed; nothing for a study in float32."""
    found = frames.store.drifts()
    if not found:
        return []
    precision = frames.plan.settings.run.precision
    return [
        Table(
            "drift",
            f"Drift of {precision} from float32",
            f"The same {found[0].images} test images in both precisions. MOD: the mean and the "
            "largest of its differences over attacks, ε, layers and explained classes. "
            "predictions: share of clean and attacked images with the same class. heatmaps: mean "
            "difference of a position, clean images.",
            ("model", "MOD, mean", "MOD, largest", "predictions", "heatmaps"),
            tuple(
                Row(
                    (trained_name(each.model, each.variant),),
                    tuple(Cell(getattr(each, name)) for name in _DRIFT),
                )
                for each in found
            ),
            (".4f", ".4f", "%", ".4f"),
            section="Precision",
        )
    ]


_DRIFT = ("mod", "largest", "classes", "heatmaps")


def _unrelated(frames: Frames, used: pl.Expr) -> pl.DataFrame:
    """The shuffled level as lines of the table of MOD: the same at every ε."""
    levels = frames.mod.select("epsilon").unique().sort("epsilon")
    found = frames.last(frames.shuffled).filter(used).rename({"shuffled": "mod"})
    return found.with_columns(scope=pl.lit(SHUFFLED)).join(levels, how="cross")


def _vid(frames: Frames) -> Table:
    """A line for each scope and model, a column for each policy and way of reading eq. 4."""
    scoped = {
        way: summary.by_scope(frames.vid[way].filter(pl.col("pairs") == "all"))
        for way in summary.VID_WAYS
    }
    first = scoped["image"]
    several = first["variant"].n_unique() > 1
    rows = []
    for keys in first.select("variant", "scope", "model").unique(maintain_order=True).iter_rows():
        cells = []
        for policy in frames.policies:
            for way in summary.VID_WAYS:
                found = scoped[way].filter(
                    (pl.col("variant") == keys[0])
                    & (pl.col("scope") == keys[1])
                    & (pl.col("model") == keys[2])
                    & (pl.col("explained_class") == policy)
                )
                row = found.row(0, named=True)
                cells.append(Cell(row["vid"], row["low"], row["high"]))
        names = (*keys[:2], marked(keys[2], keys[1]))
        rows.append(Row(names if several else names[1:], tuple(cells)))
    heads = ["perturbation", "model"] if not several else ["images", "perturbation", "model"]
    heads += [f"{policy}, {way}" for policy in frames.policies for way in summary.VID_WAYS]
    return Table(
        "vid",
        "VID",
        "Standard deviation of NISSIM over the ε levels. image: of each image, then the mean; "
        "level: of the MOD curve; pooled: of all images and levels together.",
        tuple(heads),
        tuple(rows),
    )

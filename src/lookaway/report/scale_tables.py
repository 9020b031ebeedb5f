"""Tables of how large a shift is: beside its controls, without dead maps, by layer."""

from collections.abc import Iterator

import polars as pl

from lookaway.analysis import dead, sanity, summary
from lookaway.analysis.frames import Frames
from lookaway.analysis.grouped import SETTING, whose
from lookaway.controls import KINDS
from lookaway.report.findings import at_top, findings
from lookaway.report.pivot import LINES, listing, measures
from lookaway.report.table import SCALE, Table
from lookaway.report.wording import BASELINE, whose_noise

_KINDS = (
    "noise: random signs. shifted: the attack's own change of the image, moved round the edges at "
    "random. transplant: its change of another image. spectrum noise: its amplitudes at random "
    "phases. reseeded noise: random signs of further seeds. aimed at the class: same-class "
    "transplants less those of another class. sd: of MOD over a control's draws."
)
_OF_SCALE = {
    "MOD": (".3f", "mod"),
    "noise": (".3f", "noise"),
    "shuffled": (".3f", "shuffled"),
    "excess": ("+.3f", "excess", "low", "high"),
}
_OF_DEAD = {
    dead.DEAD: ("dead pairs", "%"),
    dead.MOD_LIVING: ("MOD, living pairs", ".3f"),
    "mod": ("MOD, all pairs", ".3f"),
    dead.ONE: ("one map dead", "%"),
    dead.MOD_ONE: ("MOD, one map dead", ".3f"),
    dead.BOTH: ("both dead", "%"),
}


def scale_tables(frames: Frames, policy: str) -> Iterator[Table]:
    """The tables of one explained class, at the study's largest ε."""
    where = f"ε = {frames.top:g}, explained class: {policy}"
    here = at_top(frames, policy)
    yield Table(
        f"scale_{policy}",
        f"Scale of the shift at {where}",
        "noise: MOD under noise of the same size. excess: each image's dissimilarity under attack "
        "less that under noise, averaged. share: the excess over the distance from noise to "
        f"shuffled. {BASELINE[policy]} {whose_noise(frames, frames.attacks)}".rstrip(),
        *listing(
            frames,
            summary.by_scope(frames.last(frames.excess)).filter(here, pairs="all"),
            {**_OF_SCALE, "share": ("%", "share", "share_low", "share_high", "share_reason")},
        ),
        SCALE,
    )
    if not frames.aimed.is_empty():
        yield _controls(frames, policy, where)
    if not frames.sanity.is_empty():
        yield _sanity(frames, policy, where)
    if frames.counts[1]:
        yield Table(
            f"dead_apart_{policy}",
            f"Dead maps apart at {where}",
            f"MOD in its parts. {dead.RULE}: neither says where the network looks. MOD of all "
            "pairs is the share with one map dead times their MOD, and the share of living pairs "
            "times theirs.",
            *measures(frames, policy, _OF_DEAD),
            SCALE,
        )
    if frames.several_layers:
        own = pl.col("source") == pl.col("model"), pl.col("scope").str.ends_with(" white-box")
        yield Table(
            f"depth_{policy}",
            f"The shift by layer at {where}",
            "Each model under its own perturbations. depth: 0 the first layer, 1 the last. dead: "
            "share of the attacked images whose map holds no evidence there.",
            *listing(
                frames,
                summary.by_scope(frames.by_depth).filter(here, *own),
                {"depth": (".2f", "depth"), **_OF_SCALE, "dead": ("%", "attacked_dead")},
                (*LINES, "layer"),
            ),
            SCALE,
        )


def _controls(frames: Frames, policy: str, where: str) -> Table:
    """What each control of an attack does, and what the attack adds to it."""
    here = at_top(frames, policy), pl.col("pairs") == "all"
    noise = frames.last(frames.excess).filter(*here)
    noise = noise.with_columns(aimed="excess", control_mod="noise", spread=pl.lit(None, pl.Float64))
    every = [noise, frames.aimed.filter(*here)]
    columns = [*SETTING, "control", "mod", "control_mod", "spread", "aimed", "low", "high", "n"]
    found = summary.by_scope(pl.concat(each.select(columns) for each in every))
    together = pl.format("{} of {}", "control", whose())
    names = pl.when(pl.col("control").is_in(KINDS)).then(together)
    right = findings(frames, "accuracy").filter(epsilon=frames.top)
    right = right.filter(pl.col("source").is_null()).select(
        "variant", "model", name="scope", accuracy="value"
    )
    named = found.with_columns(name=names.otherwise("control"))
    joined = named.join(right, on=["variant", "model", "name"], how="left", maintain_order="left")
    lines = ("variant", "scope", "model", "control")
    return Table(
        f"controls_{policy}",
        f"What the attack adds to each of its controls at {where}",
        f"Under a control, then the attack less the control, on the images that have it. {_KINDS}",
        *listing(
            frames,
            pl.concat(joined.partition_by(lines[:3], maintain_order=True)),
            {
                "accuracy": ("%", "accuracy"),
                "MOD": (".3f", "control_mod"),
                "sd": (".4f", "spread"),
                "attack less it": ("+.3f", "aimed", "low", "high"),
                "images": (".0f", "n"),
            },
            lines,
        ),
        SCALE,
    )


def _sanity(frames: Frames, policy: str, where: str) -> Table:
    """Each model beside itself with weights drawn anew."""
    found = frames.sanity.filter(at_top(frames, policy))
    return Table(
        f"sanity_{policy}",
        f"Beside weights drawn anew at {where}",
        "The same images and attack once more, with the head and with all weights drawn at random: "
        "a network that has learnt nothing. less: MOD of the network as it is, less this one, by "
        "image. Where its interval holds 0, the size of the shift is no sign of what was learnt.",
        *listing(
            frames,
            found.with_columns(weights=pl.col("weights").replace(sanity.TOLD)),
            {
                "MOD": (".3f", "mod"),
                "noise": (".3f", "noise"),
                "shuffled": (".3f", "shuffled"),
                "excess": ("+.3f", "excess", "excess_low", "excess_high"),
                "less": ("+.3f", "less", "low", "high"),
                "images": (".0f", "n"),
            },
            ("model", "weights"),
        ),
        SCALE,
    )

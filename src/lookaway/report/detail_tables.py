"""Tables of what a shift means: its direction, its consequence, its certainty."""

from collections.abc import Iterator

import polars as pl

from lookaway.analysis import decomposition, direction, failing, outcomes, summary
from lookaway.analysis.frames import Frames
from lookaway.report.again import network_tables
from lookaway.report.findings import at_top
from lookaway.report.pivot import LINES, listing, measures, pivoted
from lookaway.report.robust import robust_tables
from lookaway.report.scale_tables import scale_tables
from lookaway.report.table import Table
from lookaway.report.wording import ONE_TRAINING

_DIRECTION = "Direction: where did it go?"
_CONSEQUENCE = "Consequence: does it go with failing?"
_CERTAINTY = "Certainty: how sure?"
_OF_DIRECTION = {
    "lost": ("lost", "%"),
    "gained": ("gained", "%"),
    "distance": ("centre moved", "+.3f"),
    "right": ("to the right", "+.3f"),
    "down": ("downwards", "+.3f"),
    "growth": ("growth", "+.3f"),
    "rank_correlation": ("rank correlation", "+.3f"),
    "strength": ("strength", "+.3f"),
    "clean_inside": ("inside region, clean", "%"),
    "attacked_inside": ("inside region, attacked", "%"),
    "left_region": ("left the region", "%"),
}
_RIGHT, _FLIPPED, _WRONG = outcomes.OUTCOMES
_OF_PARTS = {
    decomposition.EXCESS: ("excess", "+.3f"),
    "flipped": ("flipped", "%"),
    "flipped under control": ("under control", "%"),
    decomposition.FLIPS: ("by more flips", "+.3f"),
    decomposition.BEYOND: ("at equal outcome", "+.3f"),
    decomposition.SAME: ("same outcome", "+.3f"),
    decomposition.RIGHT_BOTH: ("right under both", "+.3f"),
    decomposition.FLIPPED_BOTH: ("flipped under both", "+.3f"),
    decomposition.WRONG_BOTH: ("wrong before", "+.3f"),
    decomposition.APART: ("other outcome", "+.3f"),
}
_OF_OUTCOMES = {
    **{f"{outcome}: share": (outcome, "%") for outcome in outcomes.OUTCOMES},
    **{
        f"{outcome}: {measure}": (f"{head}, {outcome}", form)
        for outcome in (_RIGHT, _FLIPPED)
        for measure, (head, form) in {
            "dead": ("dead pairs", "%"),
            "mod_living": ("MOD living", ".3f"),
            "mod": ("MOD", ".3f"),
        }.items()
    },
    f"{outcomes.FLIPPED_OR_NOT}: auroc": ("AUROC", ".3f"),
    f"{_WRONG}: mod": (f"MOD, {_WRONG}", ".3f"),
    f"{_RIGHT}: attacked_confidence": (f"confidence, {_RIGHT}", "%"),
    f"{_FLIPPED}: attacked_confidence": (f"confidence, {_FLIPPED}", "%"),
}
_OF_FAILING = {
    ("share", ""): ("flipped", "%"),
    **{
        (predictor, within): (f"{predictor.replace('nissim', 'NISSIM')}{where}", ".3f")
        for within, where in ((failing.ALL, ""), (failing.CLASSES, ", within classes"))
        for predictor in failing.PREDICTORS
    },
    (failing.NISSIM, failing.LIKE): ("NISSIM, freed of class and confidence", ".3f"),
    ("p", failing.LIKE): ("p (Holm)", ".4f"),
}
_MEASURES = {"mod": "MOD", "excess": "excess", "aimed": "aimed", "vid": "VID"}


def detail_tables(frames: Frames, policy: str) -> Iterator[Table]:
    """The tables of one explained class, at the study's largest ε; those of scale first."""
    where = f"ε = {frames.top:g}, explained class: {policy}"
    here = at_top(frames, policy)
    yield from scale_tables(frames, policy)
    measured = frames.direction["measure"].unique()
    yield Table(
        f"direction_{policy}",
        f"Where participation went at {where}",
        "Means over the images. lost, gained: shares of the clean heatmap's mass that left its "
        "place, and that came. centre moved: how far, in widths of the image; to the right and "
        "downwards: its mean way (negative: left, up). growth: change of the share of the image "
        "above half maximum. rank correlation: of the two maps' cells, −1 inverted. strength: "
        "(after − before) / (after + before) of the maps' maxima.",
        *measures(frames, policy, {k: v for k, v in _OF_DIRECTION.items() if k in measured}),
        _DIRECTION,
    )
    yield Table(
        f"words_{policy}",
        f"What became of the heatmaps at {where}",
        f"Share of the images whose clean map is alive. {direction.RULE}.",
        *measures(frames, policy, {word: (word, "%") for word in direction.WORDS}),
        _DIRECTION,
    )
    first = " A flip changes the explained class here by itself, so read the table of the clean "
    yield Table(
        f"outcomes_{policy}",
        f"Does looking elsewhere go with failing? {where}",
        "Images that stayed right, flipped (right on the clean image, wrong under attack), or were "
        "wrong before: how many, their MOD, and the confidence of the attacked prediction. AUROC: "
        "the chance that a flipped image's heatmap moved more than that of one that stayed right; "
        f"0.5 is no relation.{first + 'class first.' if policy == 'own' else ''}",
        *measures(frames, policy, _OF_OUTCOMES),
        _CONSEQUENCE,
    )
    yield Table(
        f"failing_{policy}",
        f"What tells a flip? {where}",
        "AUROC: shares of pairs, of an image that flipped and one that stayed right, in which the "
        "first has the larger NISSIM, the larger fall of the logit of the class predicted for the "
        "clean image, or the smaller clean confidence; 0.5 is no relation. within classes: of "
        "pairs of one class. freed: what is left of NISSIM's ranks where class and clean "
        "confidence are taken out, among images of one class and like confidence; p: that it is "
        "chance, by a one-sided permutation test, corrected for the models.",
        *pivoted(
            frames,
            _failing(frames).filter(here),
            _OF_FAILING,
            by=("predictor", "within"),
        ),
        _CONSEQUENCE,
    )
    yield Table(
        f"flips_{policy}",
        f"Because of flips, or beyond them? {where}",
        "An image whose prediction flips shifts by itself, so an attack that flips more moves "
        "heatmaps more. by more flips: what the difference in outcomes explains, each outcome "
        "taken at its MOD under the control; at equal outcome: the rest. Then the mean difference, "
        "attack less control, of the images with the same outcome under both, and of those with "
        f"another. Not known where an outcome has fewer than {decomposition.FEWEST} images under "
        "the control.",
        *pivoted(
            frames,
            summary.by_scope(frames.decomposition).filter(here),
            {(name,): column for name, column in _OF_PARTS.items()},
            lines=("variant", "scope", "control", "model"),
        ),
        _CONSEQUENCE,
    )
    yield Table(
        f"equal_accuracy_{policy}",
        f"MOD at equal accuracy, explained class: {policy}",
        "Accuracy and MOD of attack and control are lines between the measured ε, none below the "
        "smallest. Compared at the middle of the accuracies that both leave; from, to: what these "
        "are.",
        *listing(
            frames,
            summary.by_scope(frames.equal_accuracy).filter(explained_class=policy),
            {
                "from": ("%", "accuracy_low"),
                "to": ("%", "accuracy_high"),
                "compared at": ("%", "accuracy"),
                "MOD": (".3f", "mod"),
                "under control": (".3f", "control_mod"),
                "difference": ("+.3f", "difference", "low", "high", "reason"),
            },
            ("variant", "scope", "control", "model"),
        ),
        _CONSEQUENCE,
    )
    yield Table(
        f"transfer_{policy}",
        f"Transferability at {where}",
        "A line for each model that made the perturbations, a column for each model that was "
        "attacked with them: its accuracy, then its excess shift.",
        *pivoted(
            frames,
            frames.transfer.filter(here),
            {
                (measure, model): (f"{measure}, {model}", form)
                for measure, form in (("accuracy", "%"), ("excess", "+.3f"))
                for model in frames.models
            },
            by=("measure", "model"),
            lines=("variant", "attack", "source"),
        ),
        _CONSEQUENCE,
    )
    yield from robust_tables(frames, policy)
    yield from network_tables(frames, policy)
    if len(frames.models) > 1:
        yield _differences(frames, policy, where)
        if policy == frames.policy:
            yield _rankings(frames)


def _failing(frames: Frames) -> pl.DataFrame:
    """What tells flips, by scope, with the share that flipped and p as predictors of their own."""
    found = summary.by_scope(frames.failing)
    numbers = ("value", "low", "high")
    never = pl.lit(None, pl.Float64)
    share = found.filter(predictor=failing.NISSIM, within=failing.ALL).with_columns(
        predictor=pl.lit("share"), within=pl.lit(""), value=pl.col("flipped") / pl.col("n")
    )
    p = found.filter(within=failing.LIKE).with_columns(predictor=pl.lit("p"), value="p_holm")
    parts = [
        share.with_columns(low=never, high=never, reason=pl.lit(None, pl.String)),
        found.with_columns(value="auroc"),
        p.with_columns(low=never, high=never),
    ]
    keys = [*LINES, "attack", "explained_class", "epsilon", "predictor", "within", "reason"]
    every = pl.concat(part.select(*keys, *numbers) for part in parts)
    order = every.select("variant", "scope", "model", "attack").unique(maintain_order=True)
    return every.join(
        order.with_row_index("_place"), on=order.columns, how="left", maintain_order="left"
    ).sort("_place", maintain_order=True)


def _differences(frames: Frames, policy: str, where: str) -> Table:
    found = frames.compare_models.filter(at_top(frames, policy), pairs="all").with_columns(
        pl.col("measure").replace_strict(_MEASURES),
        pair=pl.format("{} − {}", "model_a", "model_b"),
    )
    lines = ("variant", "scope", "measure", "pair")
    return Table(
        f"models_{policy}",
        f"Models in pairs at {where}",
        "On the same images. p: paired permutation test; p (Holm): corrected for the pairs of one "
        "perturbation and measure. P(first is smaller): under the bootstrap.",
        *listing(
            frames,
            pl.concat(found.partition_by(lines[:3], maintain_order=True) or [found]),
            {
                "difference": ("+.3f", "difference", "low", "high"),
                "p": (".4f", "p"),
                "p (Holm)": (".4f", "p_holm"),
                "P(first is smaller)": (".3f", "probability"),
            },
            lines,
        ),
        _CERTAINTY,
    )


def _rankings(frames: Frames) -> Table:
    at = pl.format(", ε = {}", pl.col("epsilon").map_elements("{:g}".format, pl.String))
    methods = "each method, " if len(frames.methods) > 1 else ""
    name, ranking = "ranking, smallest first", pl.col("ranking").list.join(" < ")
    found = frames.robustness_of_ranking.with_columns(
        pl.col("measure").replace_strict(_MEASURES) + at.fill_null(""),
        ranking.alias(name),
    )
    return Table(
        "rankings",
        f"Does the ranking depend on a convention? Explained class: {frames.policy}",
        "Each ranking again under both SSIM presets, four grids, maps brought to one resolution, "
        f"rank correlation and the overlap of the top 10 %, {methods}each class policy, with and "
        "without dead maps; those with the same numbers count once. holds: in how many of them the "
        f"whole order is the same; pairs: of models, the share that keep theirs. {ONE_TRAINING}",
        *listing(
            frames,
            found,
            {
                "holds in": (".0f", "held"),
                "of": (".0f", "conventions"),
                "pairs": ("%", "pairs_held"),
            },
            ("variant", "scope", "measure", name),
        ),
        _CERTAINTY,
    )

"""What became of the comparisons of a study's galleries: in sentences, and as tables."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from lookaway.analysis import comparisons, summary
from lookaway.analysis.frames import Frames
from lookaway.analysis.verification import RATES
from lookaway.metrics.verification import needed
from lookaway.report.findings import cell
from lookaway.report.pivot import LINES, pivoted
from lookaway.report.table import Cell, Table
from lookaway.report.wording import isolated, with_interval
from lookaway.written import decimal, percent, signed

SECTION = "Verification: what became of the comparisons?"
_WHERE = "ε"
RATES_TOLD = {
    "fnmr": "FNMR",
    "fmr": "FMR",
    "success": "taken for target",
    "success_clean": "the same, clean",
}
SMALLEST = (
    "The median over the genuine comparisons that are accepted clean (of impersonations: those of "
    "a probe with its target that are refused clean) of the smallest ε tested at which the "
    "decision is another one."
)
_ENOUGH = 10  # comparisons on either side, for a sentence about both


@dataclass(frozen=True)
class Verified:
    """What the page tells of one gallery, on one variant of the images.

    Attributes:
        model: the gallery.
        variant: of the images; empty where the study has one alone.
        opening: at which threshold, how many genuine comparisons are lost under attack and noise.
        attacks: a line for each of the gallery's own attacks: its name, and what it did.
        closing: how much the numbers can bear.
    """

    model: str
    variant: str
    opening: str
    attacks: tuple[tuple[str, str], ...]
    closing: str


def verified(frames: Frames) -> list[Verified]:
    """What became of each gallery's comparisons at the study's largest ε."""
    return [
        _told(frames, variant, model) for variant in frames.variants for model in frames.galleries
    ]


def finest_rate(frames: Frames, variant: str, model: str) -> float | None:
    """The smallest clean false match rate at which a gallery has a threshold; None: it has none."""
    clean = frames.verification.filter(attack="clean", variant=variant, model=model)
    known = clean.filter(pl.col("value").is_not_null())["measure"].to_list()
    return next((rate for rate in sorted(RATES) if f"fnmr@{rate:g}" in known), None)


def known_rates(found: pl.DataFrame) -> list[float]:
    """The clean false match rates at which some number is known; the largest where none is."""
    known = set(found.filter(pl.col("value").is_not_null())["measure"].to_list())
    told = [rate for rate in RATES if f"fnmr@{rate:g}" in known]
    return told or [max(RATES)]


def _told(frames: Frames, variant: str, model: str) -> Verified:
    here = frames.verification.filter(variant=variant, model=model)
    rate = finest_rate(frames, variant, model)
    shown = variant if frames.several_variants else ""
    clean = _cells(here, "clean", None, 0.0)
    people = f"{len(frames.plan.classes)} people, "
    people += "{n_genuine} genuine and {n_impostor} impostor comparisons".format(
        **here.row(0, named=True)
    )
    eer = f"The equal error rate is {_percent(clean['eer'])} on clean images."
    if rate is None:
        few = f"{eer} No threshold can be fixed at a clean FMR of {max(RATES):g}, which takes "
        few += f"{needed(max(RATES))} impostor comparisons of others than those judged: {people}."
        return Verified(model, shown, few, (), "")
    lost = {name: _cells(here, name, model, frames.top) for name in _dodging(frames)}
    noise = _cells(here, "noise", None, frames.top)
    fnmr = f"fnmr@{rate:g}"
    most = max(lost, key=lambda name: lost[name][fnmr].value or 0.0, default=None)
    opening = f"At the threshold of clean FMR = {rate:g} (cosine ≥ "
    opening += f"{clean[f'threshold@{rate:g}'].value:.3f}), "
    if most is not None:
        opening += (
            f"{_percent(lost[most][fnmr])} of the genuine comparisons are lost under "
            f"{most.upper()} at ε = {frames.top:g}, "
        )
    opening += f"{_percent(noise[fnmr])} under noise of the same size and "
    opening += f"{_percent(clean[fnmr])} on clean images. {eer}"
    lines = [
        (name.upper(), _of_attack(frames, here, variant, model, name, rate))
        for name in frames.attacks
    ]
    closing = (
        f"{people}. The threshold of each probe was fixed on clean comparisons of other people and "
        "holds for every ε; intervals take people for their units. Where the page speaks of this "
        "model's confidence, it is the cosine with the best match. "
    )
    unknown = [other for other in RATES if other < rate]
    if unknown:
        closing += f"A clean FMR of {unknown[0]:g} takes {needed(unknown[0])} impostor comparisons."
    return Verified(model, shown, opening, tuple(lines), closing.strip())


def _dodging(frames: Frames) -> list[str]:
    """The attacks that go away from a person, not to another."""
    return [name for name in frames.attacks if name not in frames.targeted]


def _of_attack(
    frames: Frames, here: pl.DataFrame, variant: str, model: str, attack: str, rate: float
) -> str:
    """What one of a gallery's own attacks did, at the largest ε."""
    cells = _cells(here, attack, model, frames.top)
    dodges = attack in _dodging(frames)
    one, two = (
        (comparisons.LOST, comparisons.HELD)
        if dodges
        else (comparisons.TAKEN, comparisons.KEPT_OUT)
    )
    measure = f"fnmr@{rate:g}" if dodges else f"success@{rate:g}"
    what = "of the genuine comparisons are lost" if dodges else "are taken for their target"
    control = frames.of(frames.method, attack).control
    beside = cells[f"success_clean@{rate:g}"] if not dodges else None
    noise = beside or _cells(here, control, None, frames.top)[measure]
    parts = [
        f"{_percent(cells[measure])} {what} ({_percent(noise, interval=False)} "
        f"{'under noise of its size' if dodges else 'on clean images'}), equal error rate "
        f"{_percent(cells['eer'])}"
    ]
    median = here.filter(attack=attack, source=model, measure=f"epsilon@{rate:g}")
    parts += [
        row["reason"]
        if row["value"] is None
        else f"half of the decisions change at ε = {row['value']:g} or below"
        for row in median.iter_rows(named=True)
    ]
    shifts = frames.verification_shift.filter(
        variant=variant, model=model, attack=attack, source=model, explained_class=frames.policy
    )
    parts += _moved(shifts, one, two)
    return "; ".join(parts)


def _moved(shifts: pl.DataFrame, one: str, two: str) -> list[str]:
    """How far the explanation moved on either side, at the largest ε that has enough of both."""
    mods = shifts.filter(pl.col("outcome").is_in([one, two]))
    both = mods.filter(measure="mod").group_by("epsilon").agg(pl.col("n").min()).sort("epsilon")
    levels = both.filter(pl.col("n") >= _ENOUGH)["epsilon"]
    if not len(levels):
        return [f"at no ε are there {_ENOUGH} {one} and {_ENOUGH} {two}"]
    epsilon = levels[-1]
    found = {
        (row["outcome"], row["measure"]): row
        for row in mods.filter(epsilon=epsilon).iter_rows(named=True)
    }
    told = []
    for outcome in (one, two):
        mod, excess = cell(found[outcome, "mod"]), found[outcome, "excess"]["value"]
        more = "" if excess is None else f", excess {signed(excess)}"
        told.append(f"{with_interval(mod)} in the {found[outcome, 'mod']['n']} {outcome}{more}")
    return [f"at ε = {epsilon:g} the explanation moved by MOD {told[0]}, and by {told[1]}"]


def _cells(here: pl.DataFrame, attack: str, source: str | None, epsilon: float) -> dict[str, Cell]:
    """A perturbation's numbers by measure."""
    found = here.filter(
        pl.col("attack") == attack,
        pl.col("source").eq_missing(pl.lit(source, pl.String)),
        pl.col("epsilon").is_null() | (pl.col("epsilon") == epsilon),
    )
    return {row["measure"]: cell(row) for row in found.iter_rows(named=True)}


def _percent(found: Cell, *, interval: bool = True) -> str:
    told = percent(found.value, 1)
    if interval and found.low is not None and found.high is not None:
        told += f" (95 % interval {decimal(100 * found.low, 1)} to {percent(found.high, 1)})"
    return told


def verification_tables(frames: Frames) -> Iterator[Table]:
    """Error rates, the smallest ε, and the shift by what became of the comparison."""
    if not frames.galleries:
        return
    found = summary.by_scope(frames.verification).with_columns(_level())
    found = found.sort(pl.col("scope") != "clean", maintain_order=True)
    columns = {("eer",): ("EER", "%")}
    rates = known_rates(found)
    for rate in rates:
        columns |= {
            (f"{name}@{rate:g}",): (f"{head} at FMR {rate:g}", "%")
            for name, head in RATES_TOLD.items()
        }
    columns |= {(name,): (f"cosine, {name}", ".3f") for name in ("genuine", "impostor")}
    yield Table(
        "verification",
        "Error rates of comparisons",
        "Test images compared with every person's template. FNMR at FMR 0.01: genuine comparisons "
        "that are refused at the threshold at which 1 % of the clean impostor comparisons of other "
        "people match; FMR: impostor comparisons that match there. taken for target: probes that "
        "match the template at which an impersonation aims. Thresholds hold for every ε; intervals "
        "take people for their units.",
        *pivoted(
            frames,
            found.filter(pl.col("epsilon").is_not_null()),
            columns,
            lines=("variant", "model", "scope", _WHERE),
        ),
        SECTION,
        of_images=True,
    )
    yield Table(
        "smallest_epsilon",
        "The smallest ε that changes a decision",
        SMALLEST,
        *pivoted(
            frames,
            found.filter(pl.col("measure").str.starts_with("epsilon@")),
            {(f"epsilon@{rate:g}",): (f"at FMR {rate:g}", ".3g") for rate in rates},
        ),
        SECTION,
        of_images=True,
    )


def shift_tables(frames: Frames) -> Iterator[Table]:
    """How far explanations moved where a comparison was lost, and where it held."""
    if not frames.galleries or frames.verification_shift.is_empty():
        return
    every = frames.verification_shift.with_columns(_level())
    rate = min(every["rate"].to_list())
    sides = {
        "lost": (comparisons.LOST, comparisons.HELD),
        "taken": (comparisons.TAKEN, comparisons.KEPT_OUT),
    }
    same = ["variant", "model", "attack", "source"]
    for policy in frames.ordered_policies:
        for name, outcomes in sides.items():
            some = every.filter(pl.col("outcome").is_in([*outcomes]), explained_class=policy)
            there = some.filter(pl.col("measure") == "share", pl.col("value") > 0)
            some = some.join(there.select(same).unique(), on=same, how="semi", nulls_equal=True)
            if some.is_empty():
                continue
            columns = {
                (outcome, measure): (f"{head}{outcome}", form)
                for measure, head, form in (
                    ("share", "", "%"),
                    ("mod", "MOD, ", ".3f"),
                    ("excess", "excess, ", "+.3f"),
                )
                for outcome in outcomes
            }
            yield Table(
                f"shift_{name}_{policy}",
                f"The shift where a comparison was {outcomes[0]}, and where it "
                f"{_verb(outcomes[1])}, explained class: {policy}",
                "Comparisons by what became of their decision at the finest threshold that the "
                f"study can fix (clean FMR {rate:g}). Shares are of all probes; those that are "
                "missing were decided so on the clean image already.",
                *pivoted(
                    frames,
                    summary.by_scope(some),
                    columns,
                    by=("outcome", "measure"),
                    lines=(*LINES, _WHERE),
                ),
                SECTION,
            )


def _level() -> pl.Expr:
    """ε as a name of a line."""
    told = pl.col("epsilon").map_elements("{:g}".format, pl.String)
    clean = pl.col("attack").cast(pl.String) == "clean"
    return pl.when(clean).then(pl.lit("–")).otherwise(told).alias(_WHERE)


def _verb(outcome: str) -> str:
    return outcome if outcome == comparisons.HELD else f"was {outcome}"


def heading(found: Verified) -> str:
    """Whom a part of the page is about."""
    name = isolated(found.model)
    return f"{name} ({found.variant})" if found.variant else name

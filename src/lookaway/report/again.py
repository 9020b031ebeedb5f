"""What a run shows of networks that were trained several times: tables, and sentences."""

from collections.abc import Iterator

import polars as pl

from lookaway.analysis.frames import Frames
from lookaway.analysis.per_image import CLEAN
from lookaway.report.conclusion import Conclusion
from lookaway.report.findings import of_first
from lookaway.report.pivot import listing
from lookaway.report.table import Cell, Table
from lookaway.report.wording import ONE_TRAINING, isolated, with_interval
from lookaway.written import signed

SECTION = "Networks, over their trainings"
MEASURES = {
    CLEAN: CLEAN,
    "accuracy": "accuracy",
    "mod": "MOD",
    "excess": "excess",
    "aimed": "aimed",
    "vid": "VID",
}
_NOTE = (
    "Intervals are over trainings and images: each training is one of many that could have been. "
)


def network_tables(frames: Frames, policy: str) -> Iterator[Table]:
    """Each network over its trainings, and networks in pairs, at every ε."""
    found = _shown(frames.networks, policy)
    if found.is_empty():
        return
    lines = ("variant", "network", "scope", "measure", "epsilon")
    yield Table(
        f"networks_{policy}",
        f"Networks over their trainings, explained class: {policy}",
        f"{_NOTE}spread: standard deviation between trainings.",
        *listing(
            frames,
            found,
            {
                "mean": (".3f", "mean", "low", "high"),
                "spread": (".3f", "spread"),
                "smallest": (".3f", "smallest"),
                "largest": (".3f", "largest"),
                "trainings": (".0f", "seeds"),
            },
            lines,
        ),
        SECTION,
    )
    pairs = _shown(frames.network_pairs, policy)
    if pairs.is_empty():
        return
    yield Table(
        f"network_pairs_{policy}",
        f"Networks in pairs, over their trainings, explained class: {policy}",
        f"{_NOTE}two trainings: by how much two trainings of one of the two networks differ (root "
        "mean square): a difference that is no larger says nothing of the architectures.",
        *listing(
            frames,
            pairs.with_columns(pair=pl.format("{} − {}", "network_a", "network_b")),
            {
                "difference": ("+.3f", "difference", "low", "high"),
                "two trainings": (".3f", "between_trainings"),
            },
            ("variant", "pair", "scope", "measure", "epsilon"),
        ),
        SECTION,
    )


def _shown(frame: pl.DataFrame, policy: str) -> pl.DataFrame:
    """The rows of one explained class, their measures and ε as a table names them."""
    level = pl.col("epsilon").map_elements("{:g}".format, pl.String).fill_null("all")
    return frame.filter(explained_class=policy).with_columns(
        pl.col("measure").replace_strict(MEASURES), epsilon=level
    )


def networks_conclusion(frames: Frames) -> Conclusion:
    """What holds for a network whatever its training, and which networks differ beyond that."""
    first = {name: value for name, value in of_first(frames).items() if name != "pairs"}
    here = {**first, "explained_class": frames.policy, "measure": "mod", "epsilon": frames.top}
    models = []
    for row in frames.networks.filter(**here).iter_rows(named=True):
        mean = with_interval(Cell(row["mean"], row["low"], row["high"]))
        text = f"MOD {mean} over {row['seeds']} trainings, of which one gives "
        text += f"{row['smallest']:.3f}, another {row['largest']:.3f}"
        models.append((row["network"], text))
    apart: list[str] = []
    alike: list[str] = []
    for row in frames.network_pairs.filter(**here).iter_rows(named=True):
        pair = f"{isolated(row['network_a'])} and {isolated(row['network_b'])}"
        by = f"{signed(row['difference'])}"
        if row["low"] is not None:
            by += f", {signed(row['low'])} to {signed(row['high'])}"
        by += f"; two trainings of one differ by {row['between_trainings']:.3f}"
        (apart if is_beyond(row) else alike).append(f"{pair} ({by})")
    closing = [
        f"{head}: {'; '.join(pairs)}."
        for head, pairs in (
            ("Networks differ by more than two trainings of the same one do", apart),
            ("No more than two trainings of one, or not clearly, differ", alike),
        )
        if pairs
    ]
    opening = f"What a network does whatever its training, at ε = {frames.top:g}:"
    table = f"networks_{frames.policy}"
    return Conclusion("Trainings", opening, table, tuple(models), " ".join(closing))


def of_trainings(frames: Frames) -> list[str]:
    """What a run says of architectures, a line each; of one training of each, that it says none."""
    if frames.networks.is_empty():
        return [ONE_TRAINING]
    found = networks_conclusion(frames)
    told = [found.opening, *(f"  {network}: {text}" for network, text in found.models)]
    return [*told, found.closing] if found.closing else told


def is_beyond(row: dict[str, float | None]) -> bool:
    """Whether two networks differ clearly, and by more than two trainings of one of them."""
    low, high, apart = row["low"], row["high"], row["difference"]
    if low is None or high is None or apart is None or low <= 0 <= high:
        return False
    return abs(apart) > (row["between_trainings"] or 0.0)

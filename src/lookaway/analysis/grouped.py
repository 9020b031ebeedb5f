"""Rows as arrays: an image a row, a group a column, and numbers with their intervals."""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl

from lookaway.analysis.columns import schema
from lookaway.analysis.ends import ANY, CHANGE, DEVIATION, SHARE, Ends, Range
from lookaway.analysis.intervals import Bootstrap
from lookaway.analysis.pairs import Pairs
from lookaway.analysis.proportions import kind_of, proportion_ends

SETTING = ["variant", "model", "attack", "source"]
HEATMAP = ["method", "layer", "depth", "map_size", "explained_class"]
LAST = [*SETTING, "method", "explained_class", "epsilon"]  # of one layer of each model
MEASURED = ["measure", "n", "value", "low", "high", "interval"]
# What a mean of each quantity can be.
RANGES: Mapping[str, Range] = {
    **dict.fromkeys(["mod", "mod_living", "shuffled", "accuracy", "lost"], SHARE),
    **dict.fromkeys(["MOD, one dead", "MOD, living"], SHARE),
    **dict.fromkeys(["clean_confidence", "attacked_confidence"], SHARE),
    **dict.fromkeys(["clean_inside", "attacked_inside"], SHARE),
    **dict.fromkeys(["excess", "right", "down", "growth", "left_region"], CHANGE),
    **dict.fromkeys(["rank_correlation", "strength"], CHANGE),
    **dict.fromkeys(["psnr", "gained"], (0.0, np.inf)),
    **dict.fromkeys(["vid", "spread"], DEVIATION),
    **dict.fromkeys(["distance", "sliced_wasserstein"], (0.0, 2.0**0.5)),
    "less sliced_wasserstein": (-(2.0**0.5), 2.0**0.5),
    "nissim_common": SHARE,
    "less nissim_common": CHANGE,
    # Of a region of the face, whose name follows.
    **dict.fromkeys(["clean", "attacked"], SHARE),
    "moved": CHANGE,
    "beyond_noise": (-2.0, 2.0),
}


@dataclass(frozen=True)
class Grouped:
    """Values of one variant.

    Attributes:
        groups: what each column is, G rows.
        values: (N, G) for each name; 0 where not used.
        used: (N, G) bool: which values there are.
        bootstrap: of the images.
        pairs: that the last of the values is a mean of; None: it is of one image alone.
    """

    groups: pl.DataFrame
    values: dict[str, np.ndarray]
    used: np.ndarray
    bootstrap: Bootstrap
    pairs: Pairs | None = None

    def means(self, name: str) -> list[float | None]:
        """The mean of each column; None where nothing is used."""
        sums, counts = self.values[name].sum(axis=0), self.used.sum(axis=0)
        return [
            float(total / count) if count else None
            for total, count in zip(sums, counts, strict=True)
        ]

    def mean_frame(
        self, name: str, called: str, within: Range = ANY, **others: str
    ) -> pl.DataFrame:
        """The groups with n, the mean of each, its interval, and how that was made.

        ``others``: columns with means of other values, such as ``mod="nissim"``.
        """
        used = self.used.astype(float)
        ends = self.bootstrap.intervals(self.values[name], used, within, self.pairs)
        means = [pl.Series(each, self.means(of), pl.Float64) for each, of in others.items()]
        return self.frame(called, self.means(name), ends, self.studentised).with_columns(means)

    @property
    def studentised(self) -> str:
        """What the interval of a mean is called."""
        return f"bootstrap-t, {self.bootstrap.kind}"

    def share_frame(self, name: str, called: str) -> pl.DataFrame:
        """The groups with n, the share of ones in each, and its interval; values are 0 or 1."""
        ends = proportion_ends(self.bootstrap, self.values[name], self.used)
        return self.frame(called, self.means(name), ends, kind_of(self.bootstrap))

    def frame(
        self,
        called: str,
        points: Sequence[float | None],
        ends: Ends,
        interval: str | None = None,
    ) -> pl.DataFrame:
        """The groups with n, a number each, its interval, and how that was made.

        Args:
            called: the number's name.
            points: the numbers.
            ends: of their intervals.
            interval: how these were made; None: from percentiles of the bootstrap.
        """
        return self.groups.with_columns(
            pl.Series("n", self.used.sum(axis=0), dtype=pl.Int64),
            pl.Series(called, points, dtype=pl.Float64),
            *named_ends("", ends),
            pl.lit(interval or f"bootstrap, {self.bootstrap.kind}").alias("interval"),
        )


def whose() -> pl.Expr:
    """Whose change a row is about, as controls name it: ``fgsm``, or ``fgsm from one``."""
    attack, source, model = (pl.col(name).cast(pl.String) for name in ("attack", "source", "model"))
    return pl.when(source == model).then(attack).otherwise(pl.format("{} from {}", attack, source))


def named_ends(prefix: str, ends: Ends) -> list[pl.Series]:
    """The columns low and high, with a prefix."""
    return [
        pl.Series(f"{prefix}{end}", values, dtype=pl.Float64)
        for end, values in zip(("low", "high"), ends, strict=True)
    ]


def grouped(
    rows: pl.DataFrame,
    keys: Sequence[str],
    names: Sequence[str] = ("value",),
    partner: str | None = None,
) -> list[Grouped]:
    """The arrays of each variant, whose images are the same for all its groups.

    Args:
        rows: with image, label, variant, the keys and the names; a row with a null in one of the
            names is not used.
        keys: what makes a group; variant among them.
        names: of the values.
        partner: the column with the other image that the last value is about too: then an image may
            have several rows in a group, and has the means of theirs.
    """
    return [_filled(place, names) for place in _places(rows, keys, partner)]


def mean_frames(
    rows: pl.DataFrame,
    keys: Sequence[str],
    called: str,
    measure: str | None = None,
    partner: str | None = None,
) -> pl.DataFrame:
    """The mean of ``value`` in each group, with n and its interval.

    Args:
        rows: see ``grouped``.
        keys: what makes a group.
        called: the mean's name.
        measure: which of ``RANGES`` it lies in; None: that of its name.
        partner: the column with the other image that each value is about too; see ``grouped``.
    """
    within = range_of(measure or called)
    tables = grouped(rows, keys, partner=partner)
    parts = [table.mean_frame("value", called, within) for table in tables]
    return _together(parts, rows, keys, called)


def share_frames(rows: pl.DataFrame, keys: Sequence[str], called: str) -> pl.DataFrame:
    """The share of rows of each group whose ``value``, 0 or 1, is 1, with n and its interval."""
    parts = [part.share_frame("value", called) for part in grouped(rows, keys)]
    return _together(parts, rows, keys, called)


def _together(
    parts: Sequence[pl.DataFrame], rows: pl.DataFrame, keys: Sequence[str], called: str
) -> pl.DataFrame:
    if not parts:
        kinds = schema("n", "low", "high", "interval") | {called: pl.Float64()}
        order = [*keys, "n", called, "low", "high", "interval"]
        return pl.DataFrame(schema={**rows.schema, **kinds}).select(order)
    return pl.concat(parts)


def measure_frames(
    rows: pl.DataFrame,
    keys: Sequence[str],
    measures: Mapping[str, pl.Expr],
    shares: Collection[str] = (),
) -> pl.DataFrame:
    """The mean of each of several measures in each group, each over the rows that have it.

    Args:
        rows: with image, label, variant and the keys.
        keys: what makes a group; variant among them.
        measures: name → value.
        shares: names of those that are 0 or 1, whose means are proportions.

    Returns:
        The keys, measure, n, value, low, high, interval.
    """
    chosen = rows.select("image", "label", *keys, **measures)
    parts = []
    for place in _places(chosen, keys):
        for name in measures:
            table = _filled(place, [name])
            found = (
                table.share_frame(name, "value")
                if name in shares
                else table.mean_frame(name, "value", range_of(name))
            )
            parts.append(found.with_columns(measure=pl.lit(name)))
    return pl.concat(parts).select(*keys, *MEASURED)


def range_of(measure: str) -> Range:
    """What a measure's mean can be: by its name, or by the first word of it."""
    return RANGES.get(measure, RANGES.get(measure.partition(" ")[0], ANY))


@dataclass(frozen=True)
class _Place:
    """The rows of a variant, and where in its arrays each of them belongs."""

    rows: pl.DataFrame
    groups: pl.DataFrame
    images: pl.DataFrame
    at: tuple[np.ndarray, np.ndarray]
    partners: np.ndarray | None


def _places(
    rows: pl.DataFrame, keys: Sequence[str], partner: str | None = None
) -> Iterator[_Place]:
    for part in rows.partition_by("variant", maintain_order=True):
        images = part.select("image", "label").unique("image", maintain_order=True).sort("image")
        groups = part.select(keys).unique(maintain_order=True)
        placed = part.join(
            images.select("image").with_row_index("_i"), on="image", maintain_order="left"
        ).join(groups.with_row_index("_g"), on=list(keys), nulls_equal=True, maintain_order="left")
        others = None
        if partner is not None:
            named = images.select(pl.col("image").alias(partner)).with_row_index("_p")
            found = placed.join(named, on=partner, how="left", maintain_order="left")["_p"]
            others = found.cast(pl.Int64).fill_null(-1).to_numpy()
        at = placed["_i"].to_numpy(), placed["_g"].to_numpy()
        yield _Place(placed, groups, images, at, others)


def _filled(place: _Place, names: Sequence[str]) -> Grouped:
    known = place.rows.select(
        pl.all_horizontal(pl.col(name).is_not_null() for name in names)
    ).to_series()
    kept = known.to_numpy()
    at = (place.at[0][kept], place.at[1][kept])
    shape = (place.images.height, place.groups.height)
    given = {name: place.rows[name].filter(known).to_numpy() for name in names}
    labels = tuple(map(sys.intern, place.images["label"].to_list()))  # kept, and few different
    if place.partners is not None:
        return _of_pairs(place, at, shape, given, place.partners[kept], _bootstrap(labels))
    used = np.zeros(shape, dtype=bool)
    used[at] = True
    values = {name: np.zeros(used.shape) for name in names}
    for name in names:
        values[name][at] = given[name]
    return Grouped(place.groups, values, used, _bootstrap(labels))


def _of_pairs(
    place: _Place,
    at: tuple[np.ndarray, np.ndarray],
    shape: tuple[int, int],
    given: Mapping[str, np.ndarray],
    partners: np.ndarray,
    bootstrap: Bootstrap,
) -> Grouped:
    """The means over each image's pairs, and these."""
    counts = np.zeros(shape)
    np.add.at(counts, at, 1.0)
    weights = 1.0 / np.maximum(counts, 1.0)
    values = {name: np.zeros(shape) for name in given}
    for name, numbers in given.items():
        np.add.at(values[name], at, numbers * weights[at])
    last = list(given)[-1]
    order = np.argsort(at[1], kind="stable")
    deviations = given[last] - values[last][at]
    parts = (at[1], at[0], partners, deviations, weights[at])
    pairs = Pairs(*(each[order] for each in parts))
    return Grouped(place.groups, values, counts > 0, bootstrap, pairs)


@lru_cache(maxsize=2)
def _bootstrap(labels: tuple[str, ...]) -> Bootstrap:
    """One for all numbers of a study, so that its resamples are drawn once."""
    return Bootstrap(labels)


def by_pairs(rows: pl.DataFrame, dead: pl.Expr, names: Sequence[str]) -> dict[str, pl.DataFrame]:
    """The rows with all pairs, and with the numbers of dead ones taken out.

    Args:
        rows: with the names.
        dead: whether a map of the pair is.
        names: of the numbers.
    """
    alive = rows.with_columns(pl.when(~dead).then(pl.col(name)).alias(name) for name in names)
    return {"all": rows, "alive": alive}

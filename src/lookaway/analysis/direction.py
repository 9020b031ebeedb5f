"""Where the attention went: measures of each pair of maps, a word for each, and their means."""

import polars as pl

from lookaway.analysis.grouped import LAST, SETTING, measure_frames
from lookaway.errors import InputError
from lookaway.written import percent

WORDS = ("stayed", "moved", "spread", "shrank", "inverted", "died")
MUCH = 0.25  # of the clean heatmap's mass
REVERSED = -0.5  # rank correlation
RULE = (
    f"died: the attacked map is dead; stayed: less than {percent(MUCH)} of the clean heatmap's "
    "mass was lost and less was gained; spread: much was gained and little lost; shrank: much was "
    "lost and little gained; otherwise moved, or inverted where the rank correlation of the "
    f"two maps is at most {REVERSED:g}".replace("-", "−")
)
_MEASURES = [
    "lost",
    "gained",
    "right",
    "down",
    "distance",
    "growth",
    "rank_correlation",
    "strength",
    "clean_inside",
    "attacked_inside",
    "left_region",
]


def each(statistics: pl.DataFrame, inside: pl.DataFrame | None = None) -> pl.DataFrame:
    """The direction of each pair of maps.

    Args:
        statistics: as a run stores them.
        inside: the share of participation inside a region, from ``regions.inside``.

    Returns:
        image, label, variant, model, attack, source, epsilon, method, explained_class, clean_dead,
        attacked_dead; lost and gained (shares of the clean heatmap's mass); right, down and
        distance (how far the centre moved, in fractions of the image's side); clean_area,
        attacked_area and growth (the share of the image above half maximum, and its change);
        rank_correlation; strength ((after − before) / (after + before) of the maps' maxima); where
        there are regions clean_inside, attacked_inside and left_region (the first less the second);
        look (a word of ``WORDS``, by ``RULE``; null where the clean map is dead). A measure that a
        dead or constant map does not have is null.
    """
    much = pl.col("gained") >= MUCH, pl.col("lost") >= MUCH
    word = (
        pl.when(pl.col("clean_dead"))
        .then(None)
        .when(pl.col("attacked_dead"))
        .then(pl.lit("died"))
        .when(~much[0] & ~much[1])
        .then(pl.lit("stayed"))
        .when(~much[1])
        .then(pl.lit("spread"))
        .when(~much[0])
        .then(pl.lit("shrank"))
        .when((pl.col("rank_correlation") <= REVERSED).fill_null(value=False))
        .then(pl.lit("inverted"))
        .otherwise(pl.lit("moved"))
    )
    kept = [
        *("image", "label", *SETTING, "epsilon", "method", "explained_class"),
        *("clean_dead", "attacked_dead", "lost", "gained", "right", "down"),
        *("clean_area", "attacked_area", "rank_correlation", "strength"),
    ]
    found = statistics.select(kept).with_columns(
        distance=(pl.col("right") ** 2 + pl.col("down") ** 2).sqrt(),
        growth=pl.col("attacked_area") - pl.col("clean_area"),
        look=word,
    )
    if inside is None:
        return found
    keys = ["image", *LAST]
    joined = found.join(inside, on=keys, how="left", nulls_equal=True, maintain_order="left")
    return joined.with_columns(left_region=pl.col("clean_inside") - pl.col("attacked_inside"))


def direction(
    statistics: pl.DataFrame, per: str = "setting", inside: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Where the attention went.

    Args:
        statistics: as a run stores them.
        per: ``setting`` (means over the images) or ``image`` (see ``each``).
        inside: the share of participation inside a region, where one is given.

    Returns:
        per image, see ``each``; per setting variant, model, attack, source, method,
        explained_class, epsilon, measure, n, value, low, high, interval. A measure is one of
        ``each``'s, its mean over the images that have it, or a word, its share of the images whose
        clean map is alive.

    Raises:
        InputError: ``per`` is unknown.
    """
    if per not in ("setting", "image"):
        raise InputError(f"per={per!r} is unknown; possible: setting, image")
    images = each(statistics, inside)
    if per == "image":
        return images
    measures = {name: pl.col(name) for name in _MEASURES if name in images.columns}
    words = {word: (pl.col("look") == word).cast(pl.Float64) for word in WORDS}
    return measure_frames(images, LAST, measures | words, WORDS)

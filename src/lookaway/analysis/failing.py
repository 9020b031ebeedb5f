"""Does looking elsewhere tell failing better than what is known without heatmaps?"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import polars as pl
from scipy.special import ndtr

from lookaway.analysis.auroc import Chance, auroc, kind_of
from lookaway.analysis.columns import schema
from lookaway.analysis.comparison import holm
from lookaway.analysis.grouped import LAST, Grouped, grouped
from lookaway.analysis.outcomes import OUTCOMES, no_pair, with_outcome

NISSIM, FALL, CONFIDENCE = "nissim", "logit fall", "clean confidence"
PREDICTORS = (NISSIM, FALL, CONFIDENCE)
ALL, CLASSES, LIKE = "all images", "classes", "classes and confidence"
PERMUTATIONS = 10_000
_LIKE = 5  # images of a class that are alike in confidence
_LARGE = 20  # images of a class, from which on it has a curve of its own
_MANY = 200  # groups of such, from which on the sum of their ranks is normal
_COLUMNS = [*LAST, "predictor", "within", "n", "flipped", "mixed", "only", "auroc", "low", "high"]
_COLUMNS += ["p", "reason", "interval"]
_REASONS = {
    CLASSES: "no such pair: no class has both images that flipped and images that stayed right",
    LIKE: "no such pair: no images of one class and like confidence differ in outcome",
}


def failing(rows: pl.DataFrame) -> pl.DataFrame:
    """How well NISSIM tells flips, beside plain predictors, and whether it adds to them.

    Among the images that were right, the AUROC for a flip of NISSIM; of the *logit fall*, by how
    much the logit of the class predicted for the clean image fell, which a flip follows from and,
    with that class explained, NISSIM nearly does; and of the *clean confidence*, the less the more
    likely, which is known before any attack. *classes*: of pairs of images of one class alone,
    because where one class flips and another does not, an AUROC over all tells the classes apart.

    *classes and confidence* asks whether NISSIM adds anything: NISSIM's ranks are freed of what
    follows from class and clean confidence (the residual of a cubic of its ranks), and compared
    among about 5 images of a class that are next to each other in confidence. p is that of a
    permutation test within these groups, one-sided: under the hypothesis that a flip depends on
    class and clean confidence alone, which of a group's images flipped is chance (T. J. van
    Elteren's stratified rank test, 1960, without weights). Classes are strata, so it holds where
    images hang together by class.

    Args:
        rows: measurements of one layer of each model.

    Returns:
        variant, model, attack, source (null for controls), method, explained_class, epsilon,
        predictor, within, n (images that were right), flipped (how many of them), mixed (classes,
        or groups, with both outcomes), only (the class of all flips, where it is one of several),
        auroc, low, high, p (of the last), reason (why the AUROC is null), interval.
    """
    told = with_outcome(rows).with_columns(
        flipped=pl.when(pl.col("outcome") != OUTCOMES[2]).then(
            (pl.col("outcome") == OUTCOMES[1]).cast(pl.Float64)
        ),
        class_=pl.col("label").cast(pl.String).rank("dense").cast(pl.Float64) - 1.0,
        **{FALL: pl.col("clean_logit") - pl.col("attacked_logit")},
        **{CONFIDENCE: -pl.col("clean_confidence")},
    )
    labels = rows["label"].cast(pl.String).unique().sort().to_list()
    parts = [
        line
        for table in grouped(told, LAST, [*PREDICTORS, "class_", "flipped"])
        for line in _lines(table, labels)
    ]
    return pl.DataFrame(parts, schema=schema(*_COLUMNS))


def with_holm(found: pl.DataFrame) -> pl.DataFrame:
    """With p_holm: p corrected for the models of one perturbation, ε, method and policy (Holm)."""
    own = pl.col("source") == pl.col("model")
    family = [name for name in LAST if name not in ("model", "source")]
    told = found.with_columns(_whose=pl.when(own).then(pl.lit("")).otherwise("source"))
    return told.with_columns(p_holm=holm().over([*family, "_whose"])).drop("_whose")


def _lines(table: Grouped, labels: list[str]) -> Iterator[dict[str, object]]:
    """The lines of one variant; what does not depend on method and policy is computed once."""
    known: dict[bytes, Chance] = {}
    for place, keys in enumerate(table.groups.iter_rows(named=True)):
        used = table.used[:, place]
        flipped = table.values["flipped"][:, place] > 0
        classes = table.values["class_"][:, place].astype(int)
        gone = np.unique(classes[used & flipped])
        several = len(np.unique(classes[used])) > 1
        about = keys | {
            "n": int(used.sum()),
            "flipped": int((used & flipped).sum()),
            "only": labels[gone[0]] if len(gone) == 1 and several else None,
            "interval": kind_of(table.bootstrap),
        }
        why = no_pair(flipped[used])
        for within, strata in ((ALL, np.zeros_like(classes)), (CLASSES, classes)):
            counted = np.where(used, strata, -1)
            for predictor in PREDICTORS:
                scores = table.values[predictor][:, place]
                key = b"".join(each.tobytes() for each in (scores, flipped, counted))
                if key not in known:
                    known[key] = auroc(scores, flipped, counted, table.bootstrap)
                found = dict(zip(("auroc", "low", "high", "mixed"), known[key], strict=True))
                reason = why or (None if found["mixed"] else _REASONS[within])
                yield about | found | {"predictor": predictor, "within": within, "reason": reason}
        adds = added(
            table.values[NISSIM][used, place],
            flipped[used],
            -table.values[CONFIDENCE][used, place],
            classes[used],
        )
        reason = why or (None if adds["mixed"] else _REASONS[LIKE])
        yield about | adds | {"predictor": NISSIM, "within": LIKE, "reason": reason}


def added(
    nissim: np.ndarray, flipped: np.ndarray, confidence: np.ndarray, classes: np.ndarray
) -> dict[str, float | int | None]:
    """What NISSIM tells of flips among images of one class and like confidence; see ``failing``.

    Args:
        nissim: (N,) float.
        flipped: (N,) bool.
        confidence: (N,) float, clean.
        classes: (N,) int.

    Returns:
        auroc (of the residuals, over pairs of one group), p, and mixed (groups with both
        outcomes); null where there is no such group.
    """
    won, pairs, sums = 0.0, 0, []
    left = _residuals(nissim, confidence, classes)
    for one in np.unique(classes):
        mine = np.flatnonzero(classes == one)
        order = mine[np.argsort(confidence[mine], kind="stable")]
        for group in np.array_split(order, max(1, round(len(mine) / _LIKE))):
            ranks, gone = _ranks(left[group]), flipped[group]
            count = int(gone.sum())
            if 0 < count < len(group):
                least = count * (count + 1) / 2
                won += float(ranks[gone].sum()) - least
                pairs += count * (len(group) - count)
                sums.append(np.array(list(combinations(ranks, count))).sum(axis=1) - least)
    if not sums:
        return {"mixed": 0, "auroc": None, "p": None}
    return {"mixed": len(sums), "auroc": won / pairs, "p": _chance(won, sums)}


def _residuals(values: np.ndarray, by: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Ranks of values less what class and the ranks of another number say of them, (N,).

    A cubic of the ranks, of each large class alone; small classes have one together, each with a
    level of its own: a curve for each would follow its few images.
    """
    _, codes, counts = np.unique(classes, return_inverse=True, return_counts=True)
    curve = np.where(counts >= _LARGE, np.arange(len(counts)), -1)[codes]
    left = np.empty(len(values))
    for one in np.unique(curve):
        mine = np.flatnonzero(curve == one)
        ranks, given = (_ranks(each[mine]) / len(mine) - 0.5 for each in (values, by))
        columns = np.stack([ranks, given, given**2, given**3], axis=1)
        _, level = np.unique(codes[mine], return_inverse=True)
        sums = np.zeros((level.max() + 1, 4))
        np.add.at(sums, level, columns)
        columns = columns - (sums / np.bincount(level)[:, None])[level]
        slopes, *_ = np.linalg.lstsq(columns[:, 1:], columns[:, 0], rcond=1e-10)
        left[mine] = columns[:, 0] - columns[:, 1:] @ slopes
    return np.round(left, 9)  # what is equal but for rounding is a tie


def _chance(won: float, sums: list[np.ndarray]) -> float:
    """The one-sided p of so many pairs won, where each group's share of them is drawn."""
    if len(sums) > _MANY:
        mean = sum(float(each.mean()) for each in sums)
        spread = np.sqrt(sum(float(each.var()) for each in sums))
        return float(ndtr((mean - won) / spread)) if spread else 1.0
    random = np.random.default_rng(1)
    drawn = np.zeros(PERMUTATIONS)
    for each in sums:
        drawn += each[random.integers(0, len(each), PERMUTATIONS)]
    return float((1 + (drawn >= won - 1e-9).sum()) / (1 + PERMUTATIONS))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values sharing the mean of theirs; scipy.stats takes long to import."""
    return pl.Series(values).rank("average").to_numpy()

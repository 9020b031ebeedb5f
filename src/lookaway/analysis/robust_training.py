"""A network trained on images as they are, beside the same one trained on attacked images."""

from collections.abc import Sequence

import polars as pl

from lookaway.analysis.columns import schema
from lookaway.analysis.comparison import changes, differences
from lookaway.analysis.per_image import CLEAN, PLACE, numbers_of
from lookaway.study.model_settings import GIVEN, ModelSpec
from lookaway.study.settings import Study

ALL, BOTH = "all", "right under both"
# What two models may differ in, and are one network trained in two ways.
_OF_TRAINING = {"name", "network", "adversarial", "epochs", "learning_rate"}
_KEYS = ["variant", "scope", "method", "explained_class", "epsilon", "measure", "images", "pairs"]
_NUMBERS = ["n", "of_standard", "of_robust", "difference", "low", "high", "p"]
SCHEMA = schema(*_KEYS, "standard", "robust", *_NUMBERS, "interval")
_NAMES = {"model_a": "standard", "model_b": "robust", "before": "of_standard", "after": "of_robust"}


def trained_both_ways(study: Study) -> list[tuple[str, str]]:
    """Pairs of models, the first trained on images as they are, the second on attacked ones.

    All else is the same but for epochs and learning rate. Classifiers that a caller gives are no
    pair: what they are is not known here.
    """
    known = [spec for spec in study.models if spec.train != "none" and spec.module != GIVEN]
    robust = [spec for spec in known if study.adversarial(spec) is not None]
    return [
        (standard.name, other.name)
        for standard in known
        if study.adversarial(standard) is None
        for other in robust
        if _network(standard) == _network(other)
    ]


def _network(spec: ModelSpec) -> dict[str, object]:
    return spec.model_dump(exclude=_OF_TRAINING)


def robust_training(rows: pl.DataFrame, pairs: Sequence[tuple[str, str]]) -> pl.DataFrame:
    """Does a robustly trained network look elsewhere less, also where both are right?

    Each model is met by its own perturbations, and by the noise controls. Differences are of the
    same images; those that are ``right under both`` are the ones whose class both models predict,
    on the clean image and on the one that each is given at that ε, so that no flip moves a heatmap
    there.

    Args:
        rows: measurements of one layer of each model at all ε.
        pairs: from ``trained_both_ways``.

    Returns:
        variant, scope, method, explained_class, epsilon (null for vid and clean accuracy), measure
        (mod, excess, aimed, accuracy, clean accuracy or vid), images (all, or right under both),
        pairs, standard, robust, n, of_standard, of_robust, difference (robust less standard), low,
        high, p, interval.
    """
    parts = [pl.DataFrame(schema=SCHEMA)]
    for standard, robust in pairs:
        before, after = (numbers_of(rows, model) for model in (standard, robust))
        joined = differences(after, before).with_columns(
            model_a=pl.lit(standard), model_b=pl.lit(robust)
        )
        right = before.filter("right").select(*PLACE, right_b=pl.lit(value=True))
        both = joined.filter("right").join(right.unique(), on=PLACE, maintain_order="left")
        both = both.filter(~pl.col("measure").is_in(["accuracy", CLEAN, "vid"]))
        for images, part in ((ALL, joined), (BOTH, both)):
            found = changes(part).with_columns(
                images=pl.lit(images),
                epsilon=pl.when(pl.col("epsilon") > 0).then("epsilon"),
            )
            parts.append(found.rename(_NAMES).select(list(SCHEMA)))
    return pl.concat(parts)

"""Rows of made-up studies, as a run stores them."""

import numpy as np
import polars as pl


def labels_of(classes, per_class):
    """Labels of images that stand class by class."""
    return [f"c{image // per_class:03d}" for image in range(classes * per_class)]


def names_of(labels):
    return [f"{label}/{place:04d}" for place, label in enumerate(labels)]


def measured(
    model,
    values,
    labels,
    *,
    source="m",
    epsilons=(0.1,),
    policy="clean",
    right_before=True,
    right_after=True,
    clean_dead=False,
    attacked_dead=False,
    unattacked=False,
    layer="last",
    method="gradcam",
):
    """Rows of one model under one source, None for noise.

    ``values`` are (images, levels) NISSIM. What is said of the images is (images,), (images,
    levels) or one for all.
    """
    values = np.asarray(values, dtype=float).reshape(len(labels), len(epsilons))

    def said(given):
        given = np.asarray(given)
        given = given[:, None] if given.ndim == 1 else given
        return np.broadcast_to(given, values.shape).T.ravel()

    count, levels = values.shape
    label = np.tile(labels, levels)
    rows = count * levels
    return pl.DataFrame(
        {
            "image": names_of(labels) * levels,
            "label": label,
            "variant": ["none"] * rows,
            "model": [model] * rows,
            "seed": pl.Series([None] * rows, dtype=pl.Int64),
            "attack": ["noise" if source is None else "fgsm"] * rows,
            "source": pl.Series([source] * rows, dtype=pl.String),
            "epsilon": np.repeat(np.asarray(epsilons, dtype=float), count),
            "psnr": [30.0] * rows,
            "reached_rms": [0.1] * rows,
            "reached_linf": [0.1] * rows,
            "unattacked": said(unattacked),
            "clean_class": np.where(said(right_before), label, "other"),
            "attacked_class": np.where(said(right_after), label, "other"),
            "clean_confidence": [0.9] * rows,
            "attacked_confidence": [0.6] * rows,
            "clean_logit": [2.0] * rows,
            "attacked_logit": [1.0] * rows,
            "method": [method] * rows,
            "layer": [layer] * rows,
            "depth": [1.0] * rows,
            "map_size": ["7x7"] * rows,
            "explained_class": [policy] * rows,
            "nissim": values.T.ravel(),
            "nissim_common": values.T.ravel() / 2,
            "log_mass_ratio": [-0.5] * rows,
            "sliced_wasserstein": values.T.ravel() / 4,
            "clean_dead": said(clean_dead),
            "attacked_dead": said(attacked_dead),
        }
    )


def shuffled_rows(
    model,
    values,
    labels,
    *,
    policy="clean",
    dead=False,
    layer="last",
    method="gradcam",
    relation="other class",
    step=1,
):
    """Each clean heatmap of a model against that of the image so many steps on."""
    count, names = len(labels), names_of(labels)
    return pl.DataFrame(
        {
            "image": names,
            "partner": [*names[step:], *names[:step]],
            "relation": [relation] * count,
            "label": labels,
            "variant": ["none"] * count,
            "model": [model] * count,
            "method": [method] * count,
            "layer": [layer] * count,
            "depth": [1.0] * count,
            "map_size": ["7x7"] * count,
            "explained_class": [policy] * count,
            "nissim": np.asarray(values, dtype=float),
            "dead": np.broadcast_to(dead, count),
        }
    )


def statistics_of(rows, **numbers):
    """What was measured of each row's maps: numbers that are given, one for all or one a row."""
    kept = ["image", "label", "variant", "model", "attack", "source", "epsilon", "method"]
    kept += ["explained_class"]
    defaults = {
        "lost": 0.1,
        "gained": 0.2,
        "right": 0.03,
        "down": 0.04,
        "clean_area": 0.5,
        "attacked_area": 0.25,
        "rank_correlation": 0.8,
        "strength": -0.1,
    }
    return rows.select(*kept, "clean_dead", "attacked_dead").with_columns(
        pl.Series(
            name, list(np.broadcast_to(np.asarray(given, dtype=object), rows.height)), pl.Float64
        )
        for name, given in (defaults | numbers).items()
    )


def line(frame, **keys):
    """The one row that has these keys, as a dictionary."""
    found = frame.filter(*(pl.col(key).eq_missing(pl.lit(value)) for key, value in keys.items()))
    assert found.height == 1, found
    return found.row(0, named=True)


def without_nan(frame):
    """Whether no number of a frame is NaN or infinite."""
    numbers = frame.select(pl.selectors.float().drop_nulls().is_finite().all())
    return all(numbers.row(0)) if numbers.width else True

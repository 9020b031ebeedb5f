"""Measurements as frames: a row for each, with the columns that a run stores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from lookaway.baseline import Compared
    from lookaway.measured import Measured

Schema = Mapping[str, "pl.DataType | type[pl.DataType]"]

ROW_SCHEMA = {
    "image": pl.String,
    "label": pl.String,
    "variant": pl.String,
    "model": pl.String,
    "seed": pl.Int64,
    "attack": pl.String,
    "source": pl.String,
    "epsilon": pl.Float64,
    "linf": pl.Float64,
    "psnr": pl.Float64,
    "reached_rms": pl.Float64,
    "reached_linf": pl.Float64,
    "unattacked": pl.Boolean,
    "clean_class": pl.String,
    "attacked_class": pl.String,
    "clean_confidence": pl.Float64,
    "attacked_confidence": pl.Float64,
    "clean_logit": pl.Float64,
    "attacked_logit": pl.Float64,
    "method": pl.String,
    "layer": pl.String,
    "depth": pl.Float64,
    "map_size": pl.String,
    "explained_class": pl.String,
    "nissim": pl.Float64,
    "nissim_common": pl.Float64,
    "log_mass_ratio": pl.Float64,
    "sliced_wasserstein": pl.Float64,
    "clean_dead": pl.Boolean,
    "attacked_dead": pl.Boolean,
}
_COMPARED = ("nissim", "nissim_common", "log_mass_ratio", "sliced_wasserstein")
SHUFFLED_SCHEMA = {
    "image": pl.String,
    "label": pl.String,
    "variant": pl.String,
    "model": pl.String,
    "method": pl.String,
    "layer": pl.String,
    "depth": pl.Float64,
    "map_size": pl.String,
    "explained_class": pl.String,
    "partner": pl.String,
    "relation": pl.String,
    "nissim": pl.Float64,
    "dead": pl.Boolean,
}
SAMPLE_SCHEMA: Schema = {
    "image": pl.String,
    "label": pl.String,
    "part": pl.String,
    "pictured": pl.Boolean,
    "sha256": pl.String,
    "variants": pl.List(pl.String),
    "no_face": pl.List(pl.String),
}
# Of the last layer's maps, beside a column for each of ``metrics.map_statistics``.
STATISTIC_KEYS = ["image", "label", "variant", "model", "attack", "source", "epsilon"]
STATISTIC_KEYS += ["method", "explained_class", "clean_dead", "attacked_dead"]


_View = tuple[str, str, str]  # explainer, policy and layer


@dataclass(frozen=True)
class Subject:
    """What measurements are about.

    Attributes:
        model: its name.
        variant: how the images were prepared.
        images: names of all images, of which some or all were measured at once.
        labels: (N,) indices into ``classes``, of all of them.
        classes: names.
        epsilons: the levels.
        layers: by name, in order, the depth and the size of the maps, such as ``7x7``.
        seed: of the model's training; None: it was not trained here.
    """

    model: str
    variant: str
    images: Sequence[str]
    labels: np.ndarray
    classes: Sequence[str]
    epsilons: Sequence[float]
    layers: Mapping[str, tuple[float, str]]
    seed: int | None = None


def measurement_rows(
    found: Sequence[tuple[np.ndarray, "Measured"]], subject: Subject
) -> pl.DataFrame:
    """A row for each image, perturbation, ε, explainer, layer and policy; see ``ROW_SCHEMA``.

    Args:
        found: places of images, and what was measured of them; some may have fewer layers.
        subject: what it is about.
    """
    whole = pl.concat(
        _expanded(places, measured, subject, _views(measured, "nissim"), _COMPARED)
        for places, measured in found
    ).sort("_source", "_level", "_view", "_place")
    return whole.select(pl.col(name).cast(kind) for name, kind in ROW_SCHEMA.items()).with_columns(
        pl.col(_COMPARED).fill_nan(None)
    )


def statistic_rows(
    found: Sequence[tuple[np.ndarray, "Measured"]], subject: Subject, last: str
) -> pl.DataFrame:
    """The statistics of the last layer's maps: ``STATISTIC_KEYS`` and a column for each.

    Args:
        found: as in ``measurement_rows``.
        subject: what it is about.
        last: the layer.
    """
    having = [each for each in found if _views(each[1], "nissim", last)]
    if not having:
        return pl.DataFrame()
    first = having[0][1].arrays
    of_rows = {*_COMPARED, "clean_dead", "attacked_dead", "clean_maps", "attacked_maps"}
    names = list(dict.fromkeys(k.name for k in first if k.layer == last and k.name not in of_rows))
    whole = pl.concat(
        _expanded(places, measured, subject, _views(measured, "nissim", last), names)
        for places, measured in having
    ).sort("_source", "_view", "_level", "_place")
    keys = [pl.col(name).cast(ROW_SCHEMA[name]) for name in STATISTIC_KEYS]
    return whole.select(*keys, pl.col(names).fill_nan(None))


def shuffled_rows(compared: Sequence["Compared"], subject: Subject) -> pl.DataFrame:
    """A row for each clean heatmap and each of its partners; see ``SHUFFLED_SCHEMA``.

    Args:
        compared: of each explainer, policy and layer.
        subject: what they are about.
    """
    images = pl.Series(subject.images)
    labels = pl.Series([subject.classes[label] for label in subject.labels])
    frames = [pl.DataFrame(schema=SHUFFLED_SCHEMA)]
    for each in compared:
        method, policy, layer = each.view
        depth, size = subject.layers[layer]
        frame = pl.DataFrame(
            {
                "image": images[each.first],
                "label": labels[each.first],
                "partner": images[each.second],
                "relation": each.relation,
                "nissim": each.nissim,
                "dead": each.dead,
            }
        ).with_columns(
            variant=pl.lit(subject.variant),
            model=pl.lit(subject.model),
            method=pl.lit(method),
            layer=pl.lit(layer),
            depth=depth,
            map_size=pl.lit(size),
            explained_class=pl.lit(policy),
        )
        frames.append(
            frame.select(pl.col(name).cast(kind) for name, kind in SHUFFLED_SCHEMA.items())
        )
    return pl.concat(frames)


def _views(measured: "Measured", name: str, layer: str | None = None) -> list[_View]:
    """The views that have an array, in the order in which they were explained."""
    return [key[1:] for key in measured.arrays if key.name == name and layer in (None, key.layer)]


def _expanded(
    places: np.ndarray,
    measured: "Measured",
    subject: Subject,
    views: Sequence[_View],
    names: Sequence[str],
) -> pl.DataFrame:
    """A row for each perturbation, ε, view and image, and their places in order."""
    arrays, layers = measured.arrays, list(subject.layers)
    shape = (len(measured.sources), len(subject.epsilons), len(views), len(places))
    source, level, view, image = (at.ravel() for at in np.indices(shape, dtype=np.int32))
    methods = list(dict.fromkeys(method for method, _, _ in views))
    policies = list(dict.fromkeys(policy for _, policy, _ in views))
    order = [
        (methods.index(method) * len(layers) + layers.index(layer)) * len(policies)
        + policies.index(policy)
        for method, policy, layer in views
    ]

    nowhere = np.full(len(places), np.nan)

    def of_images(name: str, given: _View = ("", "", "")) -> np.ndarray:
        """(P, E, N); NaN where only other views have it."""
        values = arrays.get((name, *given), nowhere)  # type: ignore[call-overload]  # as a Key is
        values = values[:, None, None] if values.ndim == 1 else values
        return np.broadcast_to(values, (shape[3], *shape[:2])).transpose(1, 2, 0)

    def once(name: str) -> np.ndarray:
        return np.broadcast_to(of_images(name)[:, :, None], shape).ravel()

    def each(name: str) -> np.ndarray:
        return np.stack([of_images(name, given) for given in views], axis=2).ravel()

    classes = np.array(subject.classes, dtype=object)
    explained = [np.array(part, dtype=object)[view] for part in zip(*views, strict=True)]
    depths = [subject.layers[layer][0] for _, _, layer in views]
    sizes = ["x".join(map(str, arrays["clean_maps", *view].shape[1:])) for view in views]  # type: ignore[index]
    psnr = once("psnr")
    return pl.DataFrame(
        {
            "image": np.array([subject.images[place] for place in places], dtype=object)[image],
            "label": classes[subject.labels[places]][image],
            "variant": subject.variant,
            "model": subject.model,
            "seed": subject.seed,
            "attack": np.array([attack for attack, _ in measured.sources], dtype=object)[source],
            "source": np.array([made for _, made in measured.sources], dtype=object)[source],
            "epsilon": np.array(subject.epsilons)[level],
            "linf": once("linf"),
            "psnr": pl.Series(np.where(np.isinf(psnr), np.nan, psnr)).fill_nan(None),
            "reached_rms": once("reached_rms"),
            "reached_linf": once("reached_linf"),
            "unattacked": once("unattacked"),
            "clean_class": classes[once("clean_class")],
            "attacked_class": classes[once("attacked_class")],
            "clean_confidence": once("clean_confidence"),
            "attacked_confidence": once("attacked_confidence"),
            "clean_logit": once("clean_logit"),
            "attacked_logit": once("attacked_logit"),
            "method": explained[0],
            "layer": explained[2],
            "depth": np.array(depths)[view],
            "map_size": np.array(sizes, dtype=object)[view],
            "explained_class": explained[1],
            "clean_dead": each("clean_dead"),
            "attacked_dead": each("attacked_dead"),
            **{name: each(name) for name in names},
            "_source": source,
            "_level": level,
            "_view": np.array(order)[view],
            "_place": places[image],
        }
    )

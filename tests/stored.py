"""A run's folder with made-up numbers, written as a study writes it, without any model."""

from itertools import product

import numpy as np
import polars as pl

from lookaway.metrics.shuffled import OTHER_CLASS, SAME_CLASS
from lookaway.rows import ROW_SCHEMA, SAMPLE_SCHEMA, SHUFFLED_SCHEMA, STATISTIC_KEYS
from lookaway.study.keys import map_key
from lookaway.study.store import CellResult, Store
from plans import a_plan

_DIRECTION = ["lost", "gained", "right", "down", "clean_area", "attacked_area"]
_STATISTICS = [*_DIRECTION, "rank_correlation", "strength", "uniform7@32", "spearman@native"]


def write_run(
    folder,
    images,
    *,
    classes=3,
    variants=("none",),
    models=("one",),
    sources=(),
    policies=("own", "clean"),
    methods=("gradcam",),
    epsilons=(0.02, 0.1),
    layers=("last",),
    layers_of="all",
    lost=0,
    shifted=0,
    settings=None,
):
    """A run of so many images, the first ``lost`` of which the last variant does not have.

    ``settings``: sections of more settings.
    """
    more = settings or {}
    store, random = Store(folder), np.random.default_rng(0)
    names = sorted(f"c{place % classes:02d}/{place:06d}" for place in range(images))
    of = {name: names[lost:] if lost and name == variants[-1] else names for name in variants}
    plan = a_plan(
        models,
        images,
        lost,
        layers,
        {
            **more,
            "data": {
                "variants": list(variants),
                "without_face": "drop",
                **more.get("data", {}),
            },
            "transfer_from": list(sources),
            "controls": {"shifted": shifted},
            "epsilons": list(epsilons),
            "explain": {
                "methods": list(methods),
                "explained_class": list(policies),
                "pictured": 0,
                "layers_of": layers_of,
            },
        },
        classes=sorted({name[:3] for name in names}),
        last_layers=dict.fromkeys(models, "last"),
    )
    shown = set(names[images // 3 : images // 3 + 12])
    samples = [
        (name, name[:3], "test", False, str(place), [v for v in variants if name in of[v]], [])
        for of in [{variant: set(some) for variant, some in of.items()}]
        for place, name in enumerate(names)
    ]
    samples = pl.DataFrame(samples, schema=SAMPLE_SCHEMA, orient="row")
    store.begin(plan, samples)
    for variant in variants:
        for model in models:
            for place, chosen in enumerate(store.identity.shards(variant)):
                key = store.identity.cell(variant, model, place)
                some = [of[variant][image] for image in chosen]
                _write_cell(store, plan, key, some, shown, random)
    return store


def _write_cell(store, plan, key, images, shown, random):
    settings = plan.settings
    epsilons = settings.epsilons
    views = [(m, p) for m in plan.methods for p in settings.explain.explained_class]
    own = [("fgsm", key.model)]
    met = [*own, *(("fgsm", name) for name in settings.transfer_from if name != key.model)]
    rows, statistics, compared, maps = [], [], [], {}
    counts = settings.controls.counts
    shaped = [
        control.name
        for attack, source in met
        for control in counts.of(attack, None if source == key.model else source)
    ]
    for attack, source in [*met, ("noise", None), *((name, None) for name in shaped)]:
        for epsilon in epsilons:
            first = _images(key, images, plan.classes, random)
            once = first.with_columns(
                attack=pl.lit(attack), source=pl.lit(source, pl.String), epsilon=epsilon
            )
            layers = ["last"] if attack in shaped else plan.layers[key.model]
            for method, layer in product(plan.methods, layers):
                few = settings.explain.layers_of == "pictured" and layer != "last"
                there = once.filter(pl.col("image").is_in(list(shown))) if few else once
                policies = settings.explain.explained_class
                rows += [_measured(there, layer, method, policy, random) for policy in policies]
    whole = pl.concat(rows).select(list(ROW_SCHEMA))
    for method, policy in views:
        for layer in plan.layers[key.model]:
            some = whole.filter(
                pl.col("attack") == "noise",
                pl.col("epsilon") == epsilons[0],
                pl.col("layer") == layer,
                pl.col("method") == method,
                pl.col("explained_class") == policy,
            )
            columns = ["image", "label", "variant", "model", "method", "layer", "depth", "map_size"]
            for step, relation in ((1, OTHER_CLASS), (2, OTHER_CLASS), (3, SAME_CLASS)):
                names = some["image"].to_list()
                compared.append(
                    some.select(*columns, "explained_class", "nissim", dead="clean_dead")
                    .with_columns(
                        partner=pl.Series(names[step:] + names[:step], dtype=pl.String),
                        relation=pl.lit(relation),
                    )
                    .head(max(0, len(names) - step + 1))
                )
    for attack, source in [*met, ("noise", None)]:
        for method, policy in views:
            count = len(images)
            maps[map_key("clean", method, policy, "last")] = np.ones((count, 2, 2), np.float16)
            maps[map_key("attacked", method, policy, "last", attack, source)] = random.random(
                (count, len(epsilons), 2, 2)
            ).astype(np.float16)
            some = whole.filter(
                pl.col("attack") == attack,
                pl.col("source").eq_missing(pl.lit(source, pl.String)),
                pl.col("layer") == "last",
                pl.col("method") == method,
                pl.col("explained_class") == policy,
            )
            numbers = {name: random.random(some.height) for name in _STATISTICS}
            statistics.append(
                some.select(STATISTIC_KEYS).with_columns(
                    **{name: pl.Series(values) for name, values in numbers.items()}
                )
            )
    compared = pl.concat(compared).select(list(SHUFFLED_SCHEMA))
    result = CellResult(whole, pl.concat(statistics), compared, maps, {})
    store.write_cell(key, result)


def _images(key, images, classes, random):
    """What is said of each image, whatever the layer."""
    labels, count = [name[:3] for name in images], len(images)
    return pl.DataFrame(
        {
            "image": images,
            "label": labels,
            "variant": [key.variant] * count,
            "model": [key.model] * count,
            "seed": pl.Series([None] * count, dtype=pl.Int64),
            "linf": [0.1] * count,
            "psnr": random.normal(30, 1, count),
            "reached_rms": random.random(count),
            "reached_linf": random.random(count),
            "unattacked": np.random.default_rng(1).random(count) < 0.02,
            "clean_class": labels,
            "attacked_class": random.choice(classes, count).tolist(),
            "clean_confidence": random.random(count),
            "attacked_confidence": random.random(count),
            "clean_logit": random.random(count),
            "attacked_logit": random.random(count),
        }
    )


def _measured(images, layer, method, policy, random):
    count = images.height
    return images.with_columns(
        method=pl.lit(method),
        layer=pl.lit(layer),
        depth=pl.lit(1.0 if layer == "last" else 0.5),
        map_size=pl.lit("2x2"),
        explained_class=pl.lit(policy),
        nissim=pl.Series(random.beta(2, 5, count), dtype=pl.Float64),
        clean_dead=pl.Series(random.random(count) < 0.02, dtype=pl.Boolean),
        attacked_dead=pl.Series(random.random(count) < 0.05, dtype=pl.Boolean),
    ).with_columns(
        nissim_common=pl.col("nissim") / 2,
        log_mass_ratio=-pl.col("nissim"),
        sliced_wasserstein=pl.col("nissim") / 4,
    )

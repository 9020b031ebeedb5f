"""A study's comparisons of test images with templates, from what its galleries' cells keep."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
import polars as pl

from lookaway.analysis import scale
from lookaway.analysis.columns import schema, told, typed
from lookaway.analysis.grouped import measure_frames
from lookaway.analysis.verification import CLEAN, RATES, Comparisons, Setting, verification
from lookaway.study.json_files import Plan
from lookaway.study.keys import CLEAN as CLEAN_KEY
from lookaway.study.keys import score_key
from lookaway.study.store import Store

OF = ["variant", "model", "attack", "source"]
LOST, HELD, BEFORE = "lost", "held", "refused before"
TAKEN, KEPT_OUT, MATCHED = "taken", "kept out", "accepted before"
OUTCOMES = (LOST, HELD, BEFORE, TAKEN, KEPT_OUT, MATCHED)
RATE = [*OF, "objective", "epsilon", "measure", "n_genuine", "n_impostor"]
RATE += ["value", "low", "high", "reason"]
_VIEW = ["method", "explained_class"]
SHIFTS = [*OF, *_VIEW, "epsilon", "rate", "outcome", "measure", "n", "value", "low", "high"]
SHIFTS += ["interval"]
_DECISION = ["image", *OF, "epsilon", "rate", "outcome"]


def galleries(plan: Plan) -> list[str]:
    """The names of the models whose people are enrolled."""
    return [spec.name for spec in plan.settings.models if spec.train == "enrol"]


def of_all(make: Callable[..., pl.DataFrame], store: Store, plan: Plan) -> pl.DataFrame:
    """What is made of each gallery on each variant of the images, as one."""
    places = product(plan.settings.data.variants, galleries(plan))
    return pl.concat(make(store, plan, variant, model) for variant, model in places)


def comparisons_of(
    store: Store, plan: Plan, variant: str, model: str
) -> Iterator[tuple[str | None, Comparisons]]:
    """A gallery's comparisons: its own attacks with the controls, then those from each source.

    Returns:
        Each source (the model itself first) and its comparisons; clean ones are in all of them.

    Raises:
        StoreError: a file is missing or damaged.
    """
    people = {name: place for place, name in enumerate(plan.classes)}
    images = store.samples_of("test", variant)
    persons = images["label"].replace_strict(people, return_dtype=pl.Int64).to_numpy()
    whole = _whole(store, plan, variant, model, len(persons))
    clean = whole[score_key(CLEAN_KEY)]
    levels = plan.settings.epsilons
    for source in [model, *(name for name in plan.settings.transfer_from if name != model)]:
        similarities: dict[Setting, np.ndarray] = {CLEAN: clean}
        for attack in plan.attacks:
            found = whole[score_key("attacked", attack, source)]
            aim = plan.aims.get(attack, "cross_entropy")
            for place, epsilon in enumerate(levels):
                similarities[attack, aim, epsilon] = found[:, place]
        for control in plan.controls if source == model else ():
            if (key := score_key("attacked", control, None)) in whole:
                for place, epsilon in enumerate(levels):
                    similarities[control, "", epsilon] = whole[key][:, place]
        yield source, Comparisons(persons, similarities, _targets(store, plan, variant, source))


def _targets(
    store: Store, plan: Plan, variant: str, source: str
) -> dict[tuple[str, str], np.ndarray]:
    """Whom a source's attacks want each image taken for, where it is a gallery, which knows."""
    if source not in galleries(plan):
        return {}
    count = plan.variants[variant].images.test.count
    whole = _whole(store, plan, variant, source, count, only="target")
    return {
        (attack, plan.aims.get(attack, "cross_entropy")): whole[score_key("target", attack)]
        for attack in plan.attacks
        if score_key("target", attack) in whole
    }


def _whole(
    store: Store, plan: Plan, variant: str, model: str, count: int, only: str = ""
) -> dict[str, np.ndarray]:
    """The arrays of a model's cells put together, in the order of the test images."""
    found: dict[str, np.ndarray] = {}
    for shard, places in enumerate(store.identity.shards(variant)):
        key = store.identity.cell(variant, model, shard)
        for name, array in store.read_scores(key).items():
            if only in name:
                whole = found.setdefault(name, np.zeros((count, *array.shape[1:]), array.dtype))
                whole[places] = array
    return found


def study_verification(
    store: Store,
    plan: Plan,
    variant: str,
    model: str,
    rates_of: Callable[[Comparisons], pl.DataFrame] = verification,
    also: Sequence[str] = (),
) -> pl.DataFrame:
    """Error rates of a gallery's comparisons; see ``analysis.verification.verification``.

    Returns:
        Its columns (``also`` others of ``rates_of``), with variant, model and source (null for
        clean images and controls).
    """
    frames = []
    for source, found in comparisons_of(store, plan, variant, model):
        rates = rates_of(found)
        if source != model:  # clean ones are there already
            rates = rates.filter(pl.col("attack") != CLEAN[0])
        own = pl.when(pl.col("objective") != "").then(pl.lit(source))
        frames.append(told(rates, variant=variant, model=model).with_columns(source=own))
    return typed(pl.concat(frames), [*RATE, *also])


def finest(found: Comparisons) -> tuple[float, np.ndarray] | None:
    """The smallest clean false match rate that a threshold can be fixed at, and the thresholds."""
    known = ((rate, found.thresholds(rate)) for rate in sorted(RATES))
    return next(((rate, each) for rate, each in known if each is not None), None)


def decisions(store: Store, plan: Plan, variant: str, model: str) -> pl.DataFrame:
    """What became of each comparison that an attack is about, at the finest threshold there is.

    Of attacks that have a target that is the comparison with the target's template: ``taken`` where
    it is accepted under attack alone, ``kept out`` where it is refused, ``accepted before``. Of all
    others the genuine one: ``lost`` where it is refused under attack alone, ``held`` where it is
    accepted, ``refused before``.

    Returns:
        image, variant, model, attack, source (null for controls), epsilon, rate, outcome; no row
        where no threshold can be fixed.
    """
    images = store.samples_of("test", variant)["image"]
    frames = [pl.DataFrame(schema=schema(*_DECISION))]
    for source, found in comparisons_of(store, plan, variant, model):
        known = finest(found)
        for (attack, aim, epsilon), each in found.similarities.items():
            if known is None or (attack, aim, epsilon) == CLEAN:
                continue
            target = found.targets.get((attack, aim))
            of = found.persons if target is None else target
            before, after = (
                similarities[np.arange(len(of)), of] >= known[1]
                for similarities in (found.similarities[CLEAN], each)
            )
            names = (BEFORE, LOST, HELD) if target is None else (MATCHED, KEPT_OUT, TAKEN)
            first = ~before if target is None else before
            outcome = np.where(first, names[0], np.where(after, names[2], names[1]))
            frame = pl.DataFrame({"image": images, "outcome": outcome.tolist()})
            about = {**_about(variant, model, attack, aim), "source": source if aim else None}
            frame = told(frame, **about, epsilon=epsilon, rate=known[0])
            frames.append(typed(frame, _DECISION))
    return pl.concat(frames)


def similarity_histograms(
    store: Store, plan: Plan, variant: str, model: str, bins: int = 60
) -> pl.DataFrame:
    """How similarities are distributed, clean and under a gallery's own attacks and controls.

    Returns:
        variant, model, attack, source, objective, epsilon, kind (genuine, impostor, and of
        impersonations target), from (the lower end of a bin; the last is where all end), share, and
        threshold (the mean over the probes of the finest; null where there is none).
    """
    frames = []
    _, found = next(comparisons_of(store, plan, variant, model))
    low = min(float(each.min()) for each in found.similarities.values())
    edges = np.linspace(low, 1.0, bins + 1)
    known = finest(found)
    mean = None if known is None else float(known[1].mean())
    same = found.genuine()
    for (attack, aim, epsilon), each in found.similarities.items():
        kinds = {"genuine": each[same], "impostor": each[~same]}
        if (target := found.targets.get((attack, aim))) is not None:
            kinds["target"] = each[np.arange(len(target)), target]
        for kind, values in kinds.items():
            counts, _ = np.histogram(np.clip(values, low, 1.0), edges)
            frame = pl.DataFrame({"from": edges, "share": [*counts / len(values), 0.0]})
            about = _about(variant, model, attack, aim)
            frames.append(told(frame, **about, epsilon=epsilon, kind=kind, threshold=mean))
    names = [*OF, "objective", "epsilon", "kind", "from", "share", "threshold"]
    return pl.concat(frames).select(names)


def _about(variant: str, model: str, attack: str, aim: str) -> dict[str, str | None]:
    """What a frame of one of a gallery's own settings is of; a control has no source."""
    of = {"variant": variant, "model": model, "attack": attack, "objective": aim}
    return {**of, "source": model if aim else None}


def shift_by_decision(rows: pl.DataFrame, decided: pl.DataFrame) -> pl.DataFrame:
    """How far the explanation moved, by what became of the comparison.

    Args:
        rows: measurements of one layer of a gallery.
        decided: from ``decisions``.

    Returns:
        variant, model, attack, source, method, explained_class, epsilon, rate, outcome, measure
        (share of all images, mod, and of attacks excess), n, value, low, high, interval.
    """
    keys = [*OF, "epsilon"]
    excess = scale.beside_noise(rows).select("image", *keys, *_VIEW, "excess")
    same = ["image", *keys]
    rows = rows.join(
        excess, on=[*same, *_VIEW], how="left", nulls_equal=True, maintain_order="left"
    )
    rows = rows.join(decided, on=same, how="inner", nulls_equal=True, maintain_order="left")
    parts = []
    for outcome in OUTCOMES:
        mine = pl.col("outcome") == outcome
        measures = {
            "share": mine.cast(pl.Float64),
            "mod": pl.when(mine).then("nissim"),
            "excess": pl.when(mine).then("excess"),
        }
        found = measure_frames(rows, [*keys, *_VIEW, "rate"], measures, ["share"])
        parts.append(found.with_columns(outcome=pl.lit(outcome)))
    return pl.concat(parts).select(SHIFTS)


def det_frame(store: Store, plan: Plan, variant: str, model: str, points: int = 61) -> pl.DataFrame:
    """DET curves of a gallery, clean and under its own attacks and controls.

    Returns:
        variant, model, attack, source, objective, epsilon, threshold, fmr, fnmr: at each of so many
        false match rates (on a logarithmic scale, from that of one comparison) the lowest threshold
        that keeps it.
    """
    frames = []
    _, found = next(comparisons_of(store, plan, variant, model))
    wanted = np.geomspace(1 / int((~found.genuine()).sum()), 1.0, points)
    for attack, aim, epsilon in found.similarities:
        curve = found.det((attack, aim, epsilon))
        falling = curve["fmr"].to_numpy()
        places = np.unique(np.searchsorted(-falling, -wanted * (1 + 1e-12)))
        about = _about(variant, model, attack, aim)
        frames.append(told(curve[places], **about, epsilon=epsilon))
    return pl.concat(frames).select(*OF, "objective", "epsilon", "threshold", "fmr", "fnmr")

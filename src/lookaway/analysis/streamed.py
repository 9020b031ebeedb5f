"""A large run's frames, made a part at a time and put together in the order of a whole run's."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from lookaway.analysis import (
    aimed,
    beside_nissim,
    by_class,
    comparison,
    comparisons,
    conventions,
    dead,
    decomposition,
    direction,
    equal_accuracy,
    face_regions,
    failing,
    networks,
    outcomes,
    place,
    robust_training,
    scale,
    summary,
)
from lookaway.analysis.aimed import without_shaped
from lookaway.analysis.columns import schema
from lookaway.analysis.grouped import HEATMAP, SETTING
from lookaway.analysis.parts import Parts
from lookaway.study.json_files import Plan

_IMAGE = ["image", "label", *SETTING, "epsilon"]
_LAYER = [*_IMAGE, *HEATMAP, "nissim", "clean_dead", "attacked_dead", "unattacked"]
_COMPARED = ["image", "partner", "relation", "label", "variant", "model", *HEATMAP]
_COMPARED += ["nissim", "dead"]
_REACHED = ["reached_rms", "reached_linf"]
_CLASSES = ["clean_class", "attacked_class"]
_CONFIDENCES = ["clean_confidence", "attacked_confidence", "clean_logit", "attacked_logit"]

# How the rows of each frame stand in a whole run: by what, in the order that it first comes in.
_SOURCE = ("model", "attack", "source")
_Order = list[str | tuple[str, ...]]
_LEVELS: _Order = [_SOURCE, "epsilon"]
_LAST: _Order = [*_LEVELS, "method", "explained_class"]
_LAYERS: _Order = [*_LEVELS, "method", ("model", "layer"), "explained_class"]
_CURVES: _Order = ["pairs", "variant", _SOURCE, "method", ("model", "layer"), "explained_class"]
_SHUFFLED: _Order = ["pairs", "variant", "model", "method", ("model", "layer"), "explained_class"]
_PAIR: _Order = ["scope", "measure", "epsilon", "method", "explained_class"]
_ORDER: dict[str, _Order] = {
    "accuracy": ["variant", "model", "attack", "source", "epsilon"],
    "psnr": ["variant", *_LEVELS],
    "reached": ["variant", "measure", *_LEVELS],
    "unattacked": ["variant", *_LEVELS],
    **{name: ["pairs", "variant", *_LAYERS] for name in ("mod", "spread", "excess")},
    "by_depth": ["variant", *_LAYERS],
    "aimed": ["pairs", "variant", *_LAYERS, "control"],
    "shuffled": [*_SHUFFLED, "relation"],
    **{f"vid_{way}": _CURVES for way in summary.VID_WAYS},
    **{f"vid_{way}_with_zero": _CURVES for way in summary.VID_WAYS},
    "by_class": ["variant", "measure", *_LAST, "class"],
    "outcomes": ["outcome", "variant", "measure", *_LAST],
    "decomposition": ["variant", "measure", *_LAST, "control"],
    "failing": ["variant", *_LAST, "within", "predictor"],
    "equal_accuracy": ["variant", _SOURCE, "method", "explained_class", "control"],
    "dead": ["variant", "measure", *_LAST],
    "place": ["floor", "pairs", "variant", *_LAST],
    "beside_nissim": ["measure", "less", "variant", *_LAST],
    "transfer": ["measure", "variant", *_LAST],
    "direction": ["variant", "measure", *_LAST],
    "conventions": ["pairs", "measure", ("similarity", "resolution"), "model", "variant", *_LAST],
    "compare_models": ["pairs", "variant", ("model_a", "model_b"), *_PAIR],
    "robust_training": ["pairs", "images", "variant", ("standard", "robust"), *_PAIR],
    "networks": ["variant", "network", *_PAIR],
    "network_pairs": ["variant", ("network_a", "network_b"), *_PAIR],
    "face_regions": ["variant", *_LAYERS, "measure", "region"],
    "verification": ["variant", "model", ("attack", "source", "objective"), "epsilon", "measure"],
    "verification_shift": ["variant", *_LEVELS, "outcome", "measure", "method", "explained_class"],
}

_Found = Mapping[str, pl.DataFrame]
_Pass = Callable[["Streamed"], Iterator[_Found]]
_PASSES: dict[str, _Pass] = {}  # what makes each frame


def _gives(*names: str) -> Callable[[_Pass], _Pass]:
    """Say which frames a pass over the rows makes."""

    def noted(makes: _Pass) -> _Pass:
        _PASSES.update(dict.fromkeys(names, makes))
        return makes

    return noted


class Streamed:
    """The frames of a large run, by name; those that are read from the same rows at once."""

    def __init__(self, parts: Parts, plan: Plan, inside: Callable[[], pl.DataFrame | None]) -> None:
        self._parts, self._plan, self._inside = parts, plan, inside
        self._made: dict[str, pl.DataFrame] = {}

    def __getitem__(self, name: str) -> pl.DataFrame:
        if name not in self._made:
            found: dict[str, list[pl.DataFrame]] = {}
            for made in _PASSES[name](self):
                for each, frame in made.items():
                    found.setdefault(each, []).append(_plain(frame))
            self._made |= {each: _ordered(frames, _ORDER[each]) for each, frames in found.items()}
        return self._made[name]

    @_gives("accuracy", "psnr", "reached", "unattacked")
    def images(self) -> Iterator[_Found]:
        """What does not depend on the explained class."""
        once = {"method": self._parts.methods[0], "explained_class": self._parts.policies[0]}
        columns = [*_IMAGE, *_CLASSES, "psnr", *_REACHED, "unattacked", *once, "layer"]
        for part in self._parts.split("variant", "model", "epsilon"):
            every = self._parts.read("rows", columns, part | once, shaped=True)
            rows = without_shaped(every)
            yield {
                "accuracy": summary.accuracy(every),
                "reached": summary.reached(every),
                "psnr": summary.psnr(rows),
                "unattacked": summary.unattacked(rows),
            }

    @_gives("mod", "spread", "excess", "by_depth")
    def layers(self) -> Iterator[_Found]:
        """Summaries of every layer, at one ε."""
        dimensions = ("variant", "model", "method", "layer", "explained_class", "epsilon")
        for part in self._parts.split(*dimensions, last=False):
            every = self._parts.read("rows", _LAYER, part, last=False, shaped=True)
            rows = without_shaped(every)
            if rows.is_empty():
                continue
            excess = scale.excess(rows, self._compared(part))
            yield {
                "mod": summary.mod(every),
                "spread": summary.spread(rows),
                "excess": excess,
                "by_depth": scale.by_depth(rows, excess),
            }

    @_gives("shuffled")
    def baseline(self) -> Iterator[_Found]:
        """The shuffled baseline."""
        dimensions = ("variant", "model", "method", "layer", "explained_class")
        for part in self._parts.split(*dimensions, last=False):
            # Empty where no image has a partner: a frame without rows.
            yield {"shuffled": scale.shuffled(self._compared(part))}

    @_gives("aimed", "place", "beside_nissim", "by_class", "outcomes", "decomposition", "dead")
    @_gives("failing", "transfer", "direction")
    def last_layers(self) -> Iterator[_Found]:
        """Summaries of the last layers, at one ε."""
        columns = [*_LAYER, *_CLASSES, *_CONFIDENCES, *beside_nissim.MEASURES]
        ceiling = place.ceiling_of(self._plan.settings)
        inside = self._inside()
        for part in self._parts.split("variant", "model", "method", "explained_class", "epsilon"):
            every = self._parts.read("rows", columns, part, shaped=True)
            rows = without_shaped(every)
            yield {
                "aimed": aimed.aimed(every),
                "place": place.place(every, ceiling),
                "beside_nissim": beside_nissim.beside_nissim(every),
                "by_class": by_class.by_class(rows),
                "outcomes": outcomes.outcomes(rows),
                "decomposition": decomposition.decomposition(every),
                "dead": dead.dead(every),
                "failing": failing.failing(rows),
                "transfer": outcomes.transfer(scale.beside_noise(rows)),
            }
            statistics = self._parts.read("statistics", (), part)
            regions = None if inside is None else self._parts.small(inside)
            yield {"direction": direction.direction(statistics, inside=regions)}

    @_gives(*(f"vid_{way}" for way in summary.VID_WAYS), "equal_accuracy", "conventions")
    def curves(self) -> Iterator[_Found]:
        """Summaries of the last layers, of all ε together."""
        measure = self._plan.settings.measure
        for part in self._parts.split("variant", "model", "method", "explained_class"):
            every = self._parts.read("rows", [*_LAYER, *_CLASSES], part, shaped=True)
            rows = without_shaped(every)
            yield {f"vid_{way}": summary.vid(rows, way) for way in summary.VID_WAYS}
            yield {"equal_accuracy": equal_accuracy.equal_accuracy(every)}
            statistics = self._parts.read("statistics", (), part, shaped=True)
            yield {
                "conventions": conventions.measured(every, statistics, measure.ssim, measure.grid)
            }

    @_gives(*(f"vid_{way}_with_zero" for way in summary.VID_WAYS))
    def curves_with_zero(self) -> Iterator[_Found]:
        """VID with ε = 0 as a level."""
        for part in self._parts.split("variant", "model", "method", "explained_class"):
            rows = self._parts.read("rows", _LAYER, part)
            yield {f"vid_{way}_with_zero": summary.vid(rows, way, True) for way in summary.VID_WAYS}

    @_gives("verification", "verification_shift")
    def galleries(self) -> Iterator[_Found]:
        """Comparisons of test images with templates, for each gallery."""
        store, plan, of = self._parts.store, self._plan, comparisons
        rates = [pl.DataFrame(schema=schema(*of.RATE))]
        shifts = [pl.DataFrame(schema=schema(*of.SHIFTS))]
        for variant in plan.variants:
            for model in of.galleries(plan):
                rates.append(of.study_verification(store, plan, variant, model))
                decided = of.decisions(store, plan, variant, model)
                if self._parts.only is not None:
                    decided = decided.filter(pl.col("image").is_in(self._parts.only))
                if decided.is_empty():
                    continue
                decided = self._parts.small(decided)
                of_model = {"variant": variant, "model": model}
                for part in self._parts.split(
                    "method", "explained_class", "epsilon", also=of_model
                ):
                    rows = self._parts.read("rows", _LAYER, part)
                    shifts.append(of.shift_by_decision(rows, decided))
        yield {"verification": pl.concat(rates)}
        yield {"verification_shift": pl.concat(map(_plain, shifts))}

    @_gives("face_regions")
    def faces(self) -> Iterator[_Found]:
        """Where on aligned faces the layers look."""
        yield {"face_regions": face_regions.face_regions(self._parts.store, self._plan)}

    @_gives("compare_models")
    def pairs(self) -> Iterator[_Found]:
        """Models beside each other, at one ε."""
        for part in self._parts.split("variant", "method", "explained_class", "epsilon"):
            rows = self._parts.read("rows", _LAYER, part, shaped=True)
            yield {"compare_models": comparison.compare_models(rows)}

    @_gives("robust_training")
    def trainings(self) -> Iterator[_Found]:
        """Networks trained on images as they are beside the same trained on attacked ones."""
        yield {"robust_training": pl.DataFrame(schema=robust_training.SCHEMA)}
        for pair in robust_training.trained_both_ways(self._plan.settings):
            for part in self._parts.split("variant", "method", "explained_class"):
                parts = [{**part, "model": model} for model in pair]
                columns = [*_LAYER, *_CLASSES]
                rows = [self._parts.read("rows", columns, one, shaped=True) for one in parts]
                made = robust_training.robust_training(pl.concat(rows), [pair])
                yield {"robust_training": made}

    @_gives("networks", "network_pairs")
    def again(self) -> Iterator[_Found]:
        """Networks over their trainings, where they were trained several times."""
        trainings = networks.trained_again(self._plan.settings)
        models = [model for some in trainings.values() for model in some]
        columns = [*_LAYER, *_CLASSES]
        parts = self._parts.split("variant", "method", "explained_class") if trainings else []
        yield {
            "networks": pl.DataFrame(schema=networks.SCHEMA),
            "network_pairs": pl.DataFrame(schema=networks.PAIRS),
        }
        for part in parts:
            every = [{**part, "model": model} for model in models]
            rows = [self._parts.read("rows", columns, one, shaped=True) for one in every]
            found, pairs = networks.networks(pl.concat(rows), trainings)
            yield {"networks": found, "network_pairs": pairs}

    def _compared(self, part: Mapping[str, Any]) -> pl.DataFrame:
        return self._parts.read("shuffled", _COMPARED, part, last=False)


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """A part's frame with names as text again."""
    names = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Enum)]
    return frame.with_columns(pl.col(names).cast(pl.String))


def _ordered(frames: Sequence[pl.DataFrame], order: _Order) -> pl.DataFrame:
    """The parts' frames as one; what several parts tell, such as ε = 0, once."""
    entries = [[entry] if isinstance(entry, str) else list(entry) for entry in order]
    keys = list(dict.fromkeys(name for entry in entries for name in entry))
    found = pl.concat(frames, how="vertical")
    found = found.unique(keys, keep="first", maintain_order=True)
    places = [f"place {number}" for number in range(len(entries))]
    for number, entry in zip(places, entries, strict=True):
        known = found.select(entry).unique(maintain_order=True).with_row_index(number)
        found = found.join(known, on=entry, nulls_equal=True, maintain_order="left")
    return found.sort(places, maintain_order=True).drop(places)

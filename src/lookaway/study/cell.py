"""One cell's work: a model and a shard of images, with all attacks, sources and ε inside.

It knows no files and no engine. The clean pass is made once and shared.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lookaway.attacks import load_attack
from lookaway.attacks.base import GradientSignAttack, check_signs, step
from lookaway.attacks.noise import SignNoise
from lookaway.data.pixels import as_floats
from lookaway.explainers import load_explainer
from lookaway.explainers.base import Explainer, Explanation, Loss
from lookaway.metrics.dissimilarity import linf, psnr
from lookaway.models.classifier import Classifier
from lookaway.study.cell_data import CellOutput as CellOutput
from lookaway.study.cell_data import CellSettings as CellSettings
from lookaway.study.cell_data import Shard as Shard
from lookaway.study.seen import Look, compare, see
from lookaway.study.shuffled import compare_shuffled, partners
from lookaway.study.signs import pack_signs, unpack_signs
from lookaway.study.store import map_key

_IMAGES_AT_ONCE = 32  # in a pass that keeps no graph of the trunk


def run_cell(
    clf: Classifier,
    model: str,
    shard: Shard,
    settings: CellSettings,
    advance: Callable[[int], None] = lambda _: None,
) -> CellOutput:
    """Attack, explain and compare every image of a shard.

    Args:
        clf: the model.
        model: its name in the study.
        shard: the images.
        settings: of the study.
        advance: told of each batch of images done.
    """
    work = _Work(clf, model, shard, settings)
    with clf.computing():
        for batch in work.batches:
            work.do(batch)
            advance(len(batch.places))
    rows: dict[str, list[Any]] = defaultdict(list)
    for columns in work.rows.values():  # by setting, then by image, whatever the batch size
        for name, values in columns.items():
            rows[name].extend(work.in_order(values))
    return CellOutput(
        dict(rows),
        {key: work.in_order(np.concatenate(parts)) for key, parts in work.maps.items()},
        {name: work.in_order(np.concatenate(parts)) for name, parts in work.signs.items()},
        work.shuffled(),
    )


def attack_signs(clf: Classifier, shard: Shard, settings: CellSettings) -> dict[str, np.ndarray]:
    """The packed signs of a model's own attacks, as ``run_cell`` makes them, and nothing else.

    Args:
        clf: the model.
        shard: the images.
        settings: of the study.
    """
    work = _Work(clf, "", shard, settings)
    signs: dict[str, list[np.ndarray]] = defaultdict(list)
    with clf.computing():
        for batch in work.batches:
            pixels, labels = work.load(batch)
            _, found = work.clean_look(batch, pixels, labels)
            for name, values in found.items():
                signs[name].append(pack_signs(values.cpu().numpy()))
    return {name: work.in_order(np.concatenate(parts)) for name, parts in signs.items()}


@dataclass(frozen=True)
class _Batch:
    """Images that go through the network together: their places in the shard, and the layers."""

    places: np.ndarray
    layers: list[str]


class _Work:
    """The rows, maps and signs of a cell, batch after batch."""

    def __init__(self, clf: Classifier, model: str, shard: Shard, settings: CellSettings) -> None:
        self.clf, self.model, self.shard, self.settings = clf, model, shard, settings
        self.explainer: Explainer = load_explainer(settings.method)
        self.attacks = {name: load_attack(name) for name in settings.attacks}
        self.by_gradient = [
            attack for attack in self.attacks.values() if isinstance(attack, GradientSignAttack)
        ]
        self.trace = clf.trace((shard.grids.shape[1], shard.grids.shape[2]))
        self.last = settings.last
        self.layers = list(dict.fromkeys([*settings.layers, self.last]))
        self.batches = self._batches()
        self._order = np.argsort(np.concatenate([batch.places for batch in self.batches]))
        self.rows: dict[tuple[Any, ...], dict[str, list[Any]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self.maps: dict[str, list[np.ndarray]] = defaultdict(list)
        self.signs: dict[str, list[np.ndarray]] = defaultdict(list)
        self.clean: dict[tuple[str, str], list[tuple[Tensor, Tensor]]] = defaultdict(list)

    def _batches(self) -> list[_Batch]:
        places, shown = np.arange(len(self.shard.images)), self.shard.pictured
        groups = [_Batch(places, self.layers)]
        if self.settings.layers_of == "pictured" and self.layers != [self.last]:
            groups = [_Batch(places[shown], self.layers), _Batch(places[~shown], [self.last])]
        size = self.settings.batch_size
        return [
            _Batch(group.places[start : start + size], group.layers)
            for group in groups
            for start in range(0, len(group.places), size)
        ]

    def in_order(self, values: Any) -> Any:
        """A value for each image in the shard's order; those of fewer images are in it already."""
        if len(values) != len(self._order):
            return values
        if isinstance(values, list):
            return [values[place] for place in self._order]
        return values[self._order]

    def load(self, batch: _Batch) -> tuple[Tensor, Tensor]:
        """A batch's pixels and labels, where the model works."""
        pixels = torch.from_numpy(as_floats(list(self.shard.grids[batch.places])))
        labels = torch.from_numpy(self.shard.labels[batch.places])
        if self.clf.device.type == "cuda":
            pixels = pixels.pin_memory()
        return pixels.to(self.clf.device, non_blocking=True), labels.to(self.clf.device)

    def clean_look(
        self, batch: _Batch, pixels: Tensor, labels: Tensor
    ) -> tuple[Look, dict[str, Tensor]]:
        """What the model sees in clean images, and the signs of its own attacks, from one pass."""
        look = self._see(
            batch,
            pixels,
            {"own": None, "clean": None, "label": labels},
            [partial(attack.loss, self.clf, labels=labels) for attack in self.by_gradient],
        )
        signs = {
            attack.name: attack.signs_of(gradient, self.clf.name)
            for attack, gradient in zip(self.by_gradient, look.gradients, strict=True)
        }
        for name, attack in self.attacks.items():
            if name not in signs:
                signs[name] = attack.signs(self.clf, pixels, labels)
            check_signs(signs[name], pixels, name)
        return look, {name: signs[name] for name in self.attacks}

    def _see(
        self,
        batch: _Batch,
        pixels: Tensor,
        fixed: Mapping[str, Tensor | None],
        losses: Sequence[Loss] = (),
    ) -> Look:
        wanted = {policy: fixed[policy] for policy in self.settings.explained_class}
        labels = fixed["label"]
        return see(self.explainer, self.clf, pixels, wanted, batch.layers, losses, labels)

    def do(self, batch: _Batch) -> None:
        """Do one batch."""
        pixels, labels = self.load(batch)
        clean, own_signs = self.clean_look(batch, pixels, labels)
        # Where the trunk runs without a graph, several ε fit into a pass, and larger passes are
        # faster; else the graph of every explained layer lies in memory.
        at_once = max(1, _IMAGES_AT_ONCE // self.settings.batch_size)
        at_once = at_once if batch.layers == [self.last] else 1
        for policy in self.settings.explained_class:
            self._keep_maps(batch, "clean", policy, clean.views[policy])
            for layer in batch.layers:
                view = clean.views[policy]
                self.clean[layer, policy].append((view.maps[layer], view.dead[layer]))
        fixed = {"own": None, "clean": clean.own_classes, "label": labels}
        for attack, source, signs in self._perturbations(batch, pixels, labels, own_signs):
            changes: list[dict[str, list[Any]]] = []
            looks: list[Look] = []
            for levels in _chunks(self.settings.epsilons, at_once):
                attacked = step(pixels, signs, levels)
                if self.settings.quantize:
                    attacked = (attacked * 255.0).round() / 255.0
                changes += [_change(pixels, changed) for changed in attacked]
                looks += self._see(batch, attacked.flatten(0, 1), fixed).parts(len(levels))
            self._measure(batch, (attack, source), changes, clean, looks)
            for policy in self.settings.explained_class:
                views = [look.views[policy] for look in looks]
                self._keep_maps(batch, "attacked", policy, *views, attack=attack, source=source)

    def shuffled(self) -> dict[str, list[Any]]:
        """Each clean heatmap against another image's; to be asked after the last batch."""
        columns: dict[str, list[Any]] = defaultdict(list)
        done: dict[str, tuple[Tensor, Tensor]] = {}  # policies often explain the same class
        every = np.arange(len(self._order))
        for (layer, policy), parts in self.clean.items():
            maps, dead = (
                self.in_order(torch.cat([part[place] for part in parts])) for place in (0, 1)
            )
            places = every if len(maps) == len(every) else every[self.shard.pictured]
            images = [self.shard.images[place] for place in places]
            if len(images) < 2:
                continue
            others = partners(images, self.settings.noise_seed)
            if layer not in done or not torch.equal(done[layer][0], maps):
                measure = self.settings.grid, self.settings.ssim, self.settings.batch_size
                done[layer] = (maps, compare_shuffled(maps, others, *measure))
            for name, values in {
                "image": images,
                "label": self._names(self.shard.labels[places]),
                "variant": [self.shard.variant] * len(images),
                "model": [self.model] * len(images),
                **self._layer_columns(layer, policy, len(images)),
                "partner": [images[place] for place in others],
                "nissim": done[layer][1].tolist(),
                "dead": (dead | dead[others]).tolist(),
            }.items():
                columns[name].extend(values)
        return dict(columns)

    def _perturbations(
        self, batch: _Batch, pixels: Tensor, labels: Tensor, own: Mapping[str, Tensor]
    ) -> Iterator[tuple[str, str | None, Tensor]]:
        """Each attack, its source (None for noise), and its signs."""
        shape = tuple(pixels.shape[1:])
        for name, signs in own.items():
            self.signs[name].append(pack_signs(signs.cpu().numpy()))
            yield name, self.model, signs
            for (kind, source), packed in self.shard.transferred.items():
                if kind == name:
                    given = torch.from_numpy(unpack_signs(packed[batch.places], shape))
                    yield name, source, given.to(pixels.device)
        if self.settings.control:
            noise = SignNoise(self.settings.noise_seed)
            yield noise.name, None, noise.signs(self.clf, pixels, labels)

    def _measure(
        self,
        batch: _Batch,
        perturbation: tuple[str, str | None],
        changes: Sequence[dict[str, list[Any]]],
        clean: Look,
        looks: Sequence[Look],
    ) -> None:
        """The rows of one attack and source at every ε."""
        attack, source = perturbation
        images = [self.shard.images[place] for place in batch.places]
        count = len(images)
        scores = {
            layer: compare(clean, looks, layer, self.settings.grid, self.settings.ssim)
            for layer in batch.layers
        }
        for place, (epsilon, attacked) in enumerate(
            zip(self.settings.epsilons, looks, strict=True)
        ):
            shared: dict[str, list[Any]] = {
                "image": images,
                "label": self._names(self.shard.labels[batch.places]),
                "variant": [self.shard.variant] * count,
                "model": [self.model] * count,
                "attack": [attack] * count,
                "source": [source] * count,
                "epsilon": [epsilon] * count,
                **changes[place],
                "clean_class": self._names(clean.own_classes.cpu().numpy()),
                "attacked_class": self._names(attacked.own_classes.cpu().numpy()),
                "clean_confidence": clean.confidence,
                "attacked_confidence": attacked.confidence,
            }
            for layer in batch.layers:
                for policy in self.settings.explained_class:
                    columns = {
                        **shared,
                        **self._layer_columns(layer, policy, count),
                        "nissim": scores[layer][policy][place],
                        "clean_dead": clean.views[policy].dead[layer].tolist(),
                        "attacked_dead": attacked.views[policy].dead[layer].tolist(),
                    }
                    kept = self.rows[attack, source, epsilon, layer, policy]
                    for name, values in columns.items():
                        kept[name].extend(values)

    def _layer_columns(self, layer: str, policy: str, count: int) -> dict[str, list[Any]]:
        found = self.trace.layers[layer]
        return {
            "layer": [layer] * count,
            "depth": [found.depth] * count,
            "map_size": [f"{found.size[0]}x{found.size[1]}"] * count,
            "explained_class": [policy] * count,
        }

    def _keep_maps(
        self,
        batch: _Batch,
        what: str,
        policy: str,
        *views: Explanation,
        attack: str = "",
        source: str | None = None,
    ) -> None:
        """The last layer's maps of every image, the other layers' of the pictured ones."""
        pictured = self.shard.pictured[batch.places]
        for layer in batch.layers:
            chosen = np.ones_like(pictured) if layer == self.last else pictured
            if not chosen.any():
                continue
            maps = np.stack([view.maps[layer].cpu().numpy()[chosen] for view in views], axis=1)
            peaks = maps.max(axis=(2, 3))
            scaled = maps / np.where(peaks > 0, peaks, 1.0)[..., None, None]
            if what == "clean":
                scaled, peaks = scaled[:, 0], peaks[:, 0]
            self.maps[map_key(what, layer, policy, attack, source)].append(
                scaled.astype(np.float16)
            )
            self.maps[map_key(f"{what} peak", layer, policy, attack, source)].append(
                peaks.astype(np.float32)
            )

    def _names(self, indices: Sequence[int] | np.ndarray) -> list[str]:
        return [self.shard.classes[index] for index in indices]


def _chunks(levels: Sequence[float], at_once: int) -> list[Sequence[float]]:
    return [levels[start : start + at_once] for start in range(0, len(levels), at_once)]


def _change(clean: Tensor, attacked: Tensor) -> dict[str, list[Any]]:
    """The columns that say how far pixels were changed.

    ``unattacked``: no pixel is another one, as where the gradient is zero everywhere.
    """
    ratios = psnr(clean, attacked).tolist()
    return {
        "linf": linf(clean, attacked).tolist(),
        "unattacked": (clean == attacked).flatten(1).all(dim=1).tolist(),
        # Nothing changed: no finite ratio, so none.
        "psnr": [ratio if ratio < float("inf") else None for ratio in ratios],
    }

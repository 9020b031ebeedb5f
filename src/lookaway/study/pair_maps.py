"""A few of a gallery's comparisons, to be looked at: what on either side speaks for a match."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from itertools import groupby

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lookaway.attacks.noise import SignNoise
from lookaway.data.folder import Record
from lookaway.data.pixels import as_floats, as_picture
from lookaway.errors import ModelError
from lookaway.explainers.similarity import match_maps
from lookaway.models.gallery import Embedder, Gallery
from lookaway.perturbation import Perturbation
from lookaway.study.enrolled import enrolled
from lookaway.study.keys import ModelKey, picture_name
from lookaway.study.pairs import CHOSEN, SCHEMA, Pair, frame_of
from lookaway.study.session import Session
from lookaway.study.trained import ready_model, trained_bytes, weights_made

_FINE = 7  # positions a side of a map that tells parts of a face


def measure_pairs(session: Session, chosen: Sequence[Pair]) -> None:
    """Explain the chosen comparisons of each gallery that are not explained yet, and keep them.

    Maps are those of the study's first method, at the last layer that has 7×7 positions at least,
    else at the last one: (P, 3, 2, 2, h, w) float16 by ``STATES``, ``SIDES`` and ``KINDS``, those
    of one image in one state ÷ the highest of both kinds; zeros where dead.
    """
    if not chosen:
        return
    study = session.study
    specs = {spec.name: spec for spec in study.models}
    with session.progress.stage("pairs to be looked at", len(chosen), "pairs") as advance:
        for (variant, model), same in groupby(chosen, key=lambda pair: (pair.variant, pair.model)):
            pairs, spec = list(same), specs[model]
            key = session.store.identity.model(variant, model)
            weights = weights_made(session.store, key, spec)
            if not _known(session, key, pairs, weights):
                _Pairs(session, key).keep(pairs, weights)
            advance(len(pairs))


def _known(session: Session, key: ModelKey, pairs: Sequence[Pair], weights: str) -> bool:
    store = session.store
    files = store.identity.pairs(key)
    if not all(store.made_with(each, weights) for each in files):
        return False
    told = store.read_frame(store.folder / files[0])
    return told.select(*CHOSEN).equals(frame_of(pairs))


class _Pairs:
    """The pairs of a gallery."""

    def __init__(self, session: Session, key: ModelKey) -> None:
        self._session, self._key = session, key
        prepared = session.prepared
        spec = next(each for each in session.study.models if each.name == key.name)
        clf = ready_model(prepared, spec, trained_bytes(session.store, key, spec))
        assert isinstance(clf, Gallery)  # noqa: S101  of people that are enrolled
        self._gallery, self._embedder = clf, Embedder.of(clf)
        self._variant = prepared.images.variants[key.variant]
        seed = session.study.data.split.seed
        self._enrolled = enrolled(self._variant, spec.enrol, seed)
        self._explainer = session.study.explain.methods[0].make()
        size = session.study.data.image_size
        layers = clf.trace((size, size)).layers
        explained = prepared.plan.explained_layers(key.name)
        fine = [name for name in explained if min(layers[name].size) >= _FINE]
        deepest = sorted(fine, key=lambda name: layers[name].depth)
        self._layer = deepest[-1] if deepest else prepared.plan.last_layers[key.name]
        self._references: dict[tuple[str, str], tuple[Record, Tensor]] = {}

    def keep(self, pairs: Sequence[Pair], weights: str) -> None:
        """Explain them, and keep what was found."""
        store, maps, rows = self._session.store, [], []
        for pair in pairs:
            try:
                probe, reference, found = self._maps(pair)
            except ModelError as error:
                told = f"the pair {pair.image!r} and {pair.person!r} is not shown: {error}"
                self._session.progress.warn(told)
                continue
            maps.append(found)
            about = {"sha256": probe.sha256, "reference": reference.image, "layer": self._layer}
            rows.append({**asdict(pair), **about, "reference_sha256": reference.sha256})
            name = picture_name(store.identity.preparation(self._key.variant), reference.sha256)
            store.keep_with(name, partial(as_picture(self._grid(reference)).save, format="PNG"))
        if not rows:
            return
        names, made_with = store.identity.pairs(self._key), {"weights": weights}
        store.write_arrays(names[1], {"maps": np.stack(maps)}, made_with)
        store.write_frame(names[0], pl.DataFrame(rows, schema=SCHEMA), made_with)

    def _maps(self, pair: Pair) -> tuple[Record, Record, np.ndarray]:
        """The probe, the reference, and the maps of all states, sides and kinds."""
        test = self._variant.parts["test"]
        place = next(place for place, record in enumerate(test) if record.image == pair.image)
        probe, classes = test[place], self._session.prepared.images.classes
        template = self._gallery.templates[classes.index(pair.person)]
        reference, pixels = self._reference(pair.person, template, probe)
        states = self._states(pair, probe, place)
        with torch.no_grad():
            vectors = self._embedder(states)
        of = {"layers": self._layer, "explainer": self._explainer}
        sides = [
            match_maps(self._embedder, states, template.expand(len(states), -1), **of),
            match_maps(self._embedder, pixels.expand_as(states), vectors, **of),
        ]
        maps = torch.stack(
            [torch.stack([each.maps[self._layer] for each in side], dim=1) for side in sides], dim=1
        )
        peaks = maps.amax(dim=(2, 3, 4), keepdim=True)
        scaled = maps / torch.where(peaks > 0, peaks, 1.0)
        return probe, reference, scaled.numpy(force=True).astype(np.float16)

    def _reference(self, person: str, template: Tensor, probe: Record) -> tuple[Record, Tensor]:
        """The person's enrolled image that is nearest to the template, and its pixels.

        Raises:
            ModelError: all of the person's enrolled images are the probe again.
        """
        known = person, probe.sha256
        if known not in self._references:
            there = [each for each in self._enrolled if each.label == person]
            there = [each for each in there if each.sha256 != probe.sha256]
            if not there:
                raise ModelError(f"all enrolled images of {person!r} are the probe again")
            images = ((record, self._pixels(record)) for record in there)
            with torch.no_grad():
                self._references[known] = max(
                    images, key=lambda each: float(self._embedder(each[1])[0] @ template)
                )
        return self._references[known]

    def _states(self, pair: Pair, probe: Record, place: int) -> Tensor:
        """The probe clean, under the attack's noise control, and under attack: (3, C, H, W)."""
        session, study = self._session, self._session.study
        plan, identity = session.prepared.plan, session.store.identity
        shard, within = identity.place(pair.variant, place)
        if pair.model not in study.transfer_from:  # then the pictured images' alone are kept
            within = identity.pictured(pair.variant, shard).index(within)
        clean = self._pixels(probe)
        key = identity.cell(pair.variant, pair.model, shard)
        stored = session.store.read_perturbations(key, tuple(clean.shape[1:]))[pair.attack]
        change = stored.of([within]).on(clean.device)
        noise = SignNoise(study.data.split.seed, plan.norm)
        label = torch.zeros(1, dtype=torch.int64, device=clean.device)
        control: Perturbation = noise.find(self._gallery, clean, label, tuple(study.epsilons))
        if pair.attack in plan.own_size:
            control = change.with_signs(control.codes[:, 0].sign())
        level = study.epsilons.index(pair.epsilon)
        changed = [each.attacked(clean, level, pair.epsilon) for each in (control, change)]
        if study.quantize:
            changed = [(each * 255.0).round() / 255.0 for each in changed]
        return torch.cat([clean, *changed])

    def _grid(self, record: Record) -> np.ndarray:
        size = self._session.study.data.image_size
        return self._session.prepared.images.grid(self._key.variant, record, size)

    def _pixels(self, record: Record) -> Tensor:
        return torch.from_numpy(as_floats([self._grid(record)])).to(self._gallery.device)

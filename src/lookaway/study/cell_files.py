"""What a run stores of its cells: files that grow with the study, keyed by what made them."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lookaway.controls import compared_otherwise
from lookaway.perturbation import Perturbation
from lookaway.places import size_of
from lookaway.study.cell_reading import (
    EVERY,
    FRAMES,
    PICTURED,
    CellReading,
    array_name,
    sign_id,
)
from lookaway.study.cell_result import CellResult
from lookaway.study.keys import CLEAN, CellKey
from lookaway.study.parts import Part, Unit, parts_of
from lookaway.study.pieces import Pieces


class Missing(NamedTuple):
    """What of a cell is not stored.

    Attributes:
        parts: to be measured.
        signs: whether perturbations are missing that no part makes.
        units: how much is to be measured.
        wanted: of how much.
    """

    parts: tuple[Part, ...]
    signs: bool
    units: int
    wanted: int


class CellFiles(CellReading):
    """The files of a run's cells.

    A file holds all of its kind that was ever measured of a cell, piece by piece: what the study
    asks for now, in its order and under its names, then what it no longer asks for.
    """

    def missing(self, key: CellKey, weights: str, *, scored: bool, source: bool) -> Missing:
        """What of a cell is to be measured yet; damaged files are told.

        Args:
            key: of the cell.
            weights: the hash of the trained weights.
            scored: whether its model is a gallery.
            source: whether other models are given its perturbations.
        """
        identity, of = self.identity, key.of_model
        whole = identity.whole(key.model)
        last = identity.plan.last_layers[key.model]
        units, shaped = whole.units(last), {*whole.shaped}
        otherwise = {*compared_otherwise(whole.shaped)}
        rows = self.stored("rows", key, weights)
        told = bool(rows)
        maps, statistics, views, signs = (
            self.stored(folder, key, weights, told=told)
            for folder in ("maps", "statistics", "shuffled", "signs")
        )
        scores = self.stored("scores", key, weights, told=told) if scored else set()

        def is_there(unit: Unit) -> bool:
            id_ = identity.unit(of, unit)
            if id_ not in rows or identity.view(of, unit.method, unit.layer) not in views:
                return False
            if unit.attack in shaped:
                return unit.attack not in otherwise or id_ in statistics
            if scored and identity.scored(of, unit.met, unit.epsilon) not in scores:
                return False
            return id_ in maps and (unit.layer != last or id_ in statistics)

        left = [unit for unit in units if not is_there(unit)]
        parts = parts_of(left, whole.shaped)
        made = {each for part in parts for each in self._signs_of(part, source=source)}
        needed = set(self._signs_of(whole, source=source)) - made
        if not source:  # of all images they are of the pictured ones, too
            signs |= {_of_pictured(each) for each in signs}
        return Missing(parts, not needed <= signs, len(left), len(units))

    def has_perturbations(self, key: CellKey, weights: str = "") -> bool:
        """Whether a model's perturbations of a cell are all there, made with these weights."""
        identity = self.identity
        source = key.model in identity.plan.settings.transfer_from
        needed = self._signs_of(identity.whole(key.model), source=source)
        return {*needed} <= self.stored("signs", key, weights, told=False)

    # Writing

    def write_cell(
        self, key: CellKey, results: CellResult | Sequence[CellResult], weights: str = ""
    ) -> None:
        """Keep what was measured of a cell, part by part: the rows, which count, last.

        Each file has the hash of the trained weights that it was made with.
        """
        given = [results] if isinstance(results, CellResult) else list(results)
        whole = self.identity.whole(key.model)
        for result in given:
            part = result.part or whole
            if result.scores:
                self._merge("scores", key, weights, *self._score_pieces(key, part, result))
            self.write_perturbations(key, result.perturbations, weights, part)
            self._merge("maps", key, weights, *self._map_pieces(key, part, result))
            for folder, columns in FRAMES.items():
                known = self.wanted(folder, key, part)
                new = Pieces.of(columns, getattr(result, folder), known)
                self._merge_frame(folder, key, weights, new)

    def _merge_frame(self, folder: str, key: CellKey, weights: str, new: Pieces) -> None:
        """Write a frame with what is stored of it already."""
        if not new.frames:
            return
        name, columns = self.name_of(folder, key), FRAMES[folder]
        old = self.about(name)
        pieces = Pieces(columns, {})
        if old is not None and old.get("weights") == weights:
            stored = self.read_frame(self.folder / name)
            pieces = Pieces.read(columns, stored, old["units"])
        merged = pieces.with_those_of(new, self.wanted(folder, key))
        made_with = {"weights": weights, "units": merged.told()}
        self.write_frame(name, merged.frame(), made_with)

    def _merge(
        self,
        folder: str,
        key: CellKey,
        weights: str,
        arrays: Mapping[str, np.ndarray],
        units: Sequence[str],
        kept: Callable[[str], bool] = lambda _unit: True,
    ) -> None:
        """Write arrays with what is stored of them already, of units that are kept."""
        name = self.name_of(folder, key)
        old = self.about(name)
        before: dict[str, np.ndarray] = {}
        known: set[str] = set()
        if old is not None and old.get("weights") == weights:
            known = {unit for unit in json.loads(old["units"]) if kept(unit)}
            stored = self.read_arrays(self.folder / name)
            before = {each: array for each, array in stored.items() if json.loads(each)[0] in known}
        made_with = {"weights": weights, "units": json.dumps(sorted({*known, *units}))}
        self.write_arrays(name, {**before, **arrays}, made_with)

    def _map_pieces(
        self, key: CellKey, part: Part, result: CellResult
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        """Maps as they are stored, and the keys of what they are of."""
        identity, of = self.identity, key.of_model
        arrays = {}
        for name, array in result.maps.items():
            what, method, policy, layer, attack, source = json.loads(name)
            if what.startswith("clean"):
                arrays[array_name(identity.view(of, method, layer), what, policy)] = array
                continue
            for level, epsilon in enumerate(part.epsilons):
                unit = Unit(attack, source, epsilon, method, layer)
                arrays[array_name(identity.unit(of, unit), what, policy)] = array[:, level]
        shaped = {*part.shaped}
        last = identity.plan.last_layers[key.model]
        units = [identity.unit(of, unit) for unit in part.units(last) if unit.attack not in shaped]
        views = [each.id for each in self.wanted("shuffled", key, part)]
        return arrays, [*units, *views]

    def _score_pieces(
        self, key: CellKey, part: Part, result: CellResult
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        identity, of = self.identity, key.of_model
        arrays, units = {}, [CLEAN]
        for name, array in result.scores.items():
            what, *about = json.loads(name)
            if what == CLEAN:
                arrays[array_name(CLEAN, what)] = array
            elif what == "target":
                units.append(identity.attack(about[0]))
                arrays[array_name(units[-1], what)] = array
            else:
                for level, epsilon in enumerate(part.epsilons):
                    units.append(identity.scored(of, (about[0], about[1]), epsilon))
                    arrays[array_name(units[-1], what)] = array[:, level]
        return arrays, units

    def write_perturbations(
        self,
        key: CellKey,
        perturbations: Mapping[str, Perturbation],
        weights: str = "",
        part: Part | None = None,
        *,
        alone: bool = False,
    ) -> None:
        """Keep a model's perturbations by attack; a source's come before its cell is done.

        Args:
            key: of its cell.
            perturbations: by attack.
            weights: the hash of the trained weights.
            part: of the cell, that made them; None: all that the study asks for.
            alone: whether they take the place of all that are stored.
        """
        identity = self.identity
        source = key.model in identity.plan.settings.transfer_from
        images = EVERY if source else PICTURED
        arrays: dict[str, np.ndarray] = {}
        units: list[str] = []
        for attack, perturbation in perturbations.items():
            for level, epsilon in self.levels(attack, part or identity.whole(key.model)):
                units.append(sign_id(identity.attack(attack), epsilon, images))
                one = perturbation.at(level)
                arrays |= {
                    array_name(units[-1], kind): array for kind, array in one.arrays().items()
                }
        few = {_of_pictured(unit) for unit in units} if source else set()
        self._merge(
            "signs", key, weights, arrays, units, lambda unit: unit not in few and not alone
        )

    # What the study no longer asks for

    def _asked(self, folder: str, key: CellKey) -> set[str]:
        """The keys of the pieces of a file that the study asks for."""
        identity, of = self.identity, key.of_model
        whole = identity.whole(key.model)
        if folder in FRAMES:
            return {each.id for each in self.wanted(folder, key)}
        if folder == "signs":
            source = key.model in identity.plan.settings.transfer_from
            return {*self._signs_of(whole, source=source)}
        if folder == "scores":
            met = [
                identity.scored(of, source, epsilon)
                for source in whole.met
                for epsilon in whole.epsilons
            ]
            return {CLEAN, *map(identity.attack, identity.plan.attacks), *met}
        views = {each.id for each in self.wanted("shuffled", key)}
        return views | {each.id for each in self.wanted("rows", key)}

    def surplus(self, folder: str, key: CellKey) -> int:
        """About how many bytes of a cell's file the study does not ask for; 0: it uses all."""
        path, asked = self.folder / self.name_of(folder, key), self._asked(folder, key)
        units = json.loads(self.read_metadata(path)["units"])
        if {each if isinstance(each, str) else each[0] for each in units} <= asked:
            return 0
        if folder in FRAMES:
            rows = sum(int(count) for _, count, *_ in units)
            unused = sum(int(count) for id_, count, *_ in units if id_ not in asked)
            return max(1, size_of(path) * unused // max(1, rows))
        arrays = self.read_arrays(path).items()
        return max(1, sum(each.nbytes for name, each in arrays if json.loads(name)[0] not in asked))

    def remove_surplus(self, folder: str, key: CellKey) -> None:
        """Write a cell's file anew with what the study asks for alone."""
        name, asked = self.name_of(folder, key), self._asked(folder, key)
        path = self.folder / name
        weights = self.read_metadata(path)["weights"]
        if folder in FRAMES:
            frame, about = self.read_frame_with(path)
            pieces = Pieces.read(FRAMES[folder], frame, about["units"]).only(asked)
            kept = pieces.with_those_of(pieces, self.wanted(folder, key))
            self.write_frame(name, kept.frame(), {"weights": weights, "units": kept.told()})
        elif folder == "signs":
            data = self.identity.plan.settings.data
            shape = data.channels, data.image_size, data.image_size
            found = self.read_perturbations(key, shape)
            self.write_perturbations(key, found, weights, alone=True)
        else:
            self._merge(folder, key, weights, {}, [], lambda unit: unit in asked)

    def _signs_of(self, part: Part, *, source: bool) -> list[str]:
        """The keys of the perturbations that a part makes."""
        images = EVERY if source else PICTURED
        return [
            sign_id(self.identity.attack(attack), epsilon, images)
            for attack in self.identity.plan.perturbing(part)
            for _, epsilon in self.levels(attack, part)
        ]


def _of_pictured(sign: str) -> str:
    """The key of the same perturbations, of the pictured images alone."""
    attack, epsilon, _ = json.loads(sign)
    return sign_id(attack, epsilon, PICTURED)

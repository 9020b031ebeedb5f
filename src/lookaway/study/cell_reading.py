"""What a run stores of its cells, read as the present study asks for it and calls it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from lookaway.controls import compared_otherwise
from lookaway.errors import StoreError
from lookaway.perturbation import Perturbation
from lookaway.rows import ROW_SCHEMA, SHUFFLED_SCHEMA
from lookaway.study.files import Files, check_columns
from lookaway.study.identity import Identity
from lookaway.study.json_files import Plan
from lookaway.study.keys import CLEAN, CellKey, map_key, score_key
from lookaway.study.parts import Part, Unit
from lookaway.study.pieces import Pieces, Wanted

FRAMES: dict[str, tuple[str, ...]] = {  # and what tells their pieces apart
    "shuffled": ("variant", "model", "method", "layer"),
    "statistics": ("variant", "model", "attack", "source", "epsilon", "method"),
    "rows": ("variant", "model", "attack", "source", "epsilon", "method", "layer"),
}
_SCHEMAS = {"rows": ROW_SCHEMA, "shuffled": SHUFFLED_SCHEMA}
EVERY, PICTURED = "all", "pictured"  # images whose perturbations are stored


class CellReading(Files):
    """The files of a run's cells, as they are read; see ``CellFiles``."""

    @cached_property
    def identity(self) -> Identity:
        """The keys of what the present study stores.

        Raises:
            StoreError: there is no run here.
        """
        return Identity(self.read_plan(), self.samples())

    def use(self, plan: Plan, samples: pl.DataFrame | None) -> None:
        """Have the keys of a plan, before it is written or where it is not."""
        self.__dict__["identity"] = Identity(plan, samples)

    def read_plan(self) -> Plan:
        """What the run is; see ``Store``."""
        raise NotImplementedError

    def samples(self) -> pl.DataFrame:
        """The run's images; see ``Store``."""
        raise NotImplementedError

    # What is wanted

    def wanted(self, folder: str, key: CellKey, part: Part | None = None) -> list[Wanted]:
        """The pieces of a frame that a part measures; None: all of the study."""
        identity, of = self.identity, key.of_model
        part = part or identity.whole(key.model)
        last = identity.plan.last_layers[key.model]
        here = key.variant, key.model
        if folder == "shuffled":
            return [
                Wanted(identity.view(of, method, layer), (*here, method, layer))
                for method in part.methods
                for layer in part.layers
            ]
        units = part.units(last)
        if folder == "statistics":
            without = {*part.shaped} - {*compared_otherwise(part.shaped)}
            return [
                Wanted(identity.unit(of, unit), (*here, *unit[:4]))
                for unit in units
                if unit.layer == last and unit.attack not in without
            ]
        return [Wanted(identity.unit(of, unit), (*here, *unit)) for unit in units]

    def stored(self, folder: str, key: CellKey, weights: str, *, told: bool = True) -> set[str]:
        """The keys of the pieces that a cell's file has; none where others weights made it.

        Args:
            folder: a kind of file.
            key: of the cell.
            weights: the hash of the trained weights.
            told: whether one that is not there, or of other weights, is told as damage.
        """
        name = self.name_of(folder, key)
        found = self.about(name)
        if found is None or found.get("weights") != weights:
            if told and folder != "rows":
                self.note_damage(name)
            return set()
        pieces = json.loads(found["units"])
        return {each if isinstance(each, str) else each[0] for each in pieces}

    def about(self, name: str) -> dict[str, str] | None:
        """What was kept with a file; None where it is not there, or damaged, which is told."""
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            return self.read_metadata(path)
        except StoreError:
            self.note_damage(name)
            return None

    def made_with(self, name: str, weights: str) -> bool:
        """Whether a file is there, made with these weights; damage is told."""
        found = self.about(name)
        return found is not None and found.get("weights") == weights

    def name_of(self, folder: str, key: CellKey) -> str:
        """The file of a cell of one kind."""
        return f"{folder}/{key.id}.{'parquet' if folder in FRAMES else 'safetensors'}"

    def levels(self, attack: str, part: Part) -> list[tuple[slice, float | None]]:
        """An attack's levels and their ε; a direction that serves every ε has none."""
        if attack in self.identity.plan.one_direction:
            return [(slice(None), None)]
        return [(slice(at, at + 1), epsilon) for at, epsilon in enumerate(part.epsilons)]

    # Reading

    def scan(
        self,
        folder: str,
        columns: Sequence[str] = (),
        variant: str | None = None,
        model: str | None = None,
    ) -> Iterator[pl.DataFrame]:
        """The stored frames of cells, one at a time, in their order: memory follows from one cell.

        Of one variant or model, and of some columns, where they are given.

        Raises:
            StoreError: there are none, or a file is damaged.
        """
        keys = list(self.identity.cells(variant, model))
        if not any((self.folder / self.name_of(folder, key)).is_file() for key in keys[:1]):
            raise StoreError(f"{str(self.folder)!r} holds no {folder} yet; run the study again")
        for key in keys:
            yield self.read_cell(folder, key, columns)

    def read_cell(self, folder: str, key: CellKey, columns: Sequence[str] = ()) -> pl.DataFrame:
        """What the study asks for of one frame of a cell.

        Raises:
            StoreError: the file is missing or damaged, or lacks some of it.
        """
        path = self.folder / self.name_of(folder, key)
        frame, about = self.read_frame_with(path, columns)
        schema: Mapping[str, Any] = _SCHEMAS.get(folder) or dict(frame.schema)
        wanted = {name: kind for name, kind in schema.items() if not columns or name in columns}
        check_columns(frame, wanted, path)
        chosen = frame.select(list(columns) or list(wanted))
        pieces = Pieces.read(FRAMES[folder], chosen, about.get("units", "[]"))
        try:
            return pieces.chosen(self.wanted(folder, key))
        except KeyError as error:
            raise StoreError(
                f"{str(path)!r} lacks some of what the study asks for; run the study again, and "
                "only that is measured"
            ) from error

    def frame(self, folder: str) -> pl.DataFrame:
        """All that ``scan`` reads, as one frame."""
        return pl.concat(self.scan(folder))

    def cells_with_maps(self) -> Iterator[tuple[pl.DataFrame, dict[str, np.ndarray]]]:
        """Each stored cell's rows and maps, in order.

        Raises:
            StoreError: a file is missing or damaged.
        """
        for key in self.identity.cells():
            yield self.read_cell("rows", key), self.read_maps(key)

    def read_maps(self, key: CellKey) -> dict[str, np.ndarray]:
        """A cell's maps; see ``CellResult``."""
        identity, of = self.identity, key.of_model
        stored = self.read_arrays(self.folder / self.name_of("maps", key))
        whole, found = identity.whole(key.model), {}
        for method in whole.methods:
            for layer in whole.layers:
                view = identity.view(of, method, layer)
                for policy in identity.plan.settings.explain.explained_class:
                    for peak in ("", " peak"):
                        name = array_name(view, f"clean{peak}", policy)
                        if name not in stored:
                            continue
                        found[map_key(f"clean{peak}", method, policy, layer)] = stored[name]
                        for met in whole.met:
                            units = [
                                identity.unit(of, Unit(*met, epsilon, method, layer))
                                for epsilon in whole.epsilons
                            ]
                            levels = [
                                stored[array_name(unit, f"attacked{peak}", policy)]
                                for unit in units
                            ]
                            named = map_key(f"attacked{peak}", method, policy, layer, *met)
                            found[named] = np.stack(levels, axis=1)
        return found

    def read_scores(self, key: CellKey) -> dict[str, np.ndarray]:
        """The cosines of a gallery's cell; see ``keys.score_key``."""
        identity, of = self.identity, key.of_model
        stored = self.read_arrays(self.folder / self.name_of("scores", key))
        whole = identity.whole(key.model)
        found = {score_key(CLEAN): stored[array_name(CLEAN, CLEAN)]}
        for met in whole.met:
            levels = [
                stored[array_name(identity.scored(of, met, epsilon), "attacked")]
                for epsilon in whole.epsilons
            ]
            found[score_key("attacked", *met)] = np.stack(levels, axis=1)
        for attack in identity.plan.attacks:
            if (name := array_name(identity.attack(attack), "target")) in stored:
                found[score_key("target", attack)] = stored[name]
        return found

    def read_perturbations(self, key: CellKey, shape: tuple[int, ...]) -> dict[str, Perturbation]:
        """A model's perturbations of a cell by attack, of images of a shape (C, H, W).

        Raises:
            StoreError: they are missing or damaged.
        """
        identity = self.identity
        path = self.folder / self.name_of("signs", key)
        by_unit: dict[str, dict[str, np.ndarray]] = {}
        for name, array in self.read_arrays(path).items():
            unit, kind = json.loads(name)
            by_unit.setdefault(unit, {})[kind] = array
        found = {}
        for attack in identity.plan.attacks:
            levels = [
                self._level(by_unit, key, attack, epsilon, shape)
                for _, epsilon in self.levels(attack, identity.whole(key.model))
            ]
            found[attack] = Perturbation.of_levels(levels)
        return found

    def _level(
        self,
        stored: Mapping[str, Mapping[str, np.ndarray]],
        key: CellKey,
        attack: str,
        epsilon: float | None,
        shape: tuple[int, ...],
    ) -> Perturbation:
        """A perturbation at one ε; of the pictured images, unless its model is a source."""
        identity = self.identity
        source = key.model in identity.plan.settings.transfer_from
        every, few = (
            stored.get(sign_id(identity.attack(attack), epsilon, images))
            for images in (EVERY, PICTURED)
        )
        if few is not None and not source:
            return Perturbation.from_arrays(few, shape)
        if every is None:
            raise StoreError(
                f"{str(self.folder / self.name_of('signs', key))!r} lacks perturbations of "
                f"{attack!r}; run the study again, and only they are made"
            )
        found = Perturbation.from_arrays(every, shape)
        return found if source else found.of(identity.pictured(key.variant, key.shard))


def sign_id(attack: str, epsilon: float | None, images: str) -> str:
    """The key of stored perturbations of all images, or the pictured ones, at one ε."""
    return json.dumps([attack, epsilon, images])


def array_name(unit: str, *of: str) -> str:
    """The name of an array of what has a key."""
    return json.dumps([unit, *of])

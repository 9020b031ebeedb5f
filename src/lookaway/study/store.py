"""A run's folder: files whole or absent, resumed where it stopped, read back without torch."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lookaway.errors import StoreError
from lookaway.perturbation import Perturbation
from lookaway.rows import ROW_SCHEMA, SAMPLE_SCHEMA, SHUFFLED_SCHEMA, SINCE
from lookaway.study.cell_result import CellResult as CellResult
from lookaway.study.changes import changed_images, differences
from lookaway.study.fields import STORED
from lookaway.study.files import Files, check_columns, check_writable
from lookaway.study.json_files import Drift, Manifest, Plan, TrainedModel
from lookaway.study.keys import CellKey, trained_name
from lookaway.study.plan import write_study

_NUMBERS = ("rows", "shuffled", "statistics")  # what summaries are made of
_SCHEMAS = {"rows": ROW_SCHEMA, "shuffled": SHUFFLED_SCHEMA}
_PARTS = {  # of a cell, beside its rows
    "maps": "safetensors",
    "signs": "safetensors",
    "shuffled": "parquet",
    "statistics": "parquet",
}


class Store(Files):
    """The files of one run; see ``Files`` for its arguments."""

    def check_usable(self) -> None:
        """Refuse a folder that cannot be written, or holds other files, before any work.

        Raises:
            StoreError: with the reason.
        """
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise StoreError(f"{str(self.folder)!r} is a file; give a folder with --out")
            if isinstance(self.folder, Path):
                check_writable(self.folder)
            names = (
                {path.name for path in self.folder.iterdir() if path.name[0] != "."}
                if self.folder.is_dir()
                else set()
            )
        except (OSError, ValueError) as error:
            raise StoreError(f"{str(self.folder)!r} cannot be used: {error}") from error
        # A run that was killed at once leaves faces, its samples, then its study, and no plan yet.
        begun = names <= {"samples.parquet", "study.yaml", "faces"} and names != {"study.yaml"}
        if names and "plan.json" not in names and not begun:
            raise StoreError(
                f"{str(self.folder)!r} is not empty and holds no run of lookaway; give a new "
                "folder with --out"
            )

    def begin(self, plan: Plan, samples: pl.DataFrame) -> None:
        """Start a run here, or check that the run that is here is the same one.

        Args:
            plan: everything that changes results; its settings are kept as ``study.yaml`` too, for
                people.
            samples: every image's part and hash, to be kept too.

        Raises:
            StoreError: the folder holds a run with other settings (each is named), or other
                files, or cannot be written.
        """
        old = self.known_plan()
        if old is not None:
            changes = list(differences(old.results(), plan.results()))
            if changes:
                if old.images != plan.images:
                    changes += self._changed_images(samples)
                raise StoreError(
                    f"{str(self.folder)!r} holds a run that was made otherwise; results made "
                    "with different settings do not mix. Changed:\n"
                    + "\n".join(f"  {change}" for change in changes)
                    + "\nUndo the change, or give another --out."
                )
            for name in ("samples.parquet", "study.yaml"):
                if not self.is_whole(name):
                    self.note_damage(name)
        else:
            self.check_usable()
        # With a copy of the plan: were that one file damaged, no result could be used any more.
        self.write_frame("samples.parquet", samples, {"plan": plan.model_dump_json()})
        self.write_yaml("study.yaml", write_study(plan.settings))
        self.write_model("plan.json", plan)

    def known_plan(self) -> Plan | None:
        """The plan of the run that is here, or None; where it is damaged, its copy.

        Raises:
            StoreError: the copy is damaged too, or the run is of another layout.
        """
        if not (self.folder / "plan.json").is_file() or self.is_whole("plan.json"):
            return self.read_model("plan.json", Plan)
        self.note_damage("plan.json")
        try:
            copy = self.read_metadata(self.folder / "samples.parquet")["plan"]
            return Plan.model_validate_json(copy, context=STORED)
        except (StoreError, KeyError, ValueError) as error:
            raise StoreError(
                f"{str(self.folder / 'plan.json')!r} is damaged, and so is its copy in "
                "samples.parquet, so what the stored results were made with is not known; give "
                "another --out"
            ) from error

    def _changed_images(self, samples: pl.DataFrame) -> list[str]:
        """Which images differ from the stored ones."""
        try:
            return changed_images(self.samples(), samples)
        except StoreError:
            return []

    def read_plan(self) -> Plan:
        """What a run is, as it was begun.

        Raises:
            StoreError: there is no run here, or its plan is damaged or of another layout.
        """
        plan = self.read_model("plan.json", Plan)
        if plan is None:
            raise StoreError(
                f"{str(self.folder)!r} holds no run of lookaway; make one with "
                "`lookaway run STUDY.yaml --out DIR` or `lookaway demo --out DIR`"
            )
        return plan

    def reopen(self) -> None:
        """A run that goes on is not finished: no manifest, and no half-written files."""
        try:
            (self.folder / "manifest.json").unlink(missing_ok=True)
            if isinstance(self.folder, Path):  # an object is never half-written
                for left in self.folder.rglob(".*.part"):
                    left.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{str(self.folder)!r} cannot be written: {error}") from error

    def read_manifest(self) -> Manifest:
        """What says that the run is finished.

        Raises:
            StoreError: it is not, or the manifest is damaged.
        """
        manifest = self.read_model("manifest.json", Manifest)
        if manifest is None:
            raise StoreError(
                f"the run in {str(self.folder)!r} is not finished; the command that began it goes "
                "on where it stopped"
            )
        return manifest

    def check_complete(self, plan: Plan) -> None:
        """Refuse a finished run that lacks a cell's numbers, or has some of no cell of its own.

        Raises:
            StoreError: with the files.
        """
        for folder in _NUMBERS:
            found = {path.stem for path in self.listed(folder, "*.parquet")}
            missing = islice((key.stem for key in plan.cells() if key.stem not in found), 5)
            odd = list(missing) or sorted(found - {key.stem for key in plan.cells()})
            if odd:
                raise StoreError(
                    f"the run in {str(self.folder)!r} is damaged: "
                    f"{', '.join(f'{folder}/{stem}.parquet' for stem in odd[:5])} missing or of no "
                    "cell of this run; run the study again, and only what is missing is made "
                    "again; delete what is strange"
                )

    def trained(self) -> dict[str, TrainedModel]:
        """How each model was trained, by ``trained_name``."""
        paths = self.listed("heads", "*.json")
        found = [self.read_model(f"heads/{path.name}", TrainedModel) for path in paths]
        return {trained_name(each.model, each.variant): each for each in found if each}

    def drifts(self) -> list[Drift]:
        """How far each model is from float32, in order; none in a study in float32."""
        paths = self.listed("drift", "*.json")
        found = [self.read_model(f"drift/{path.name}", Drift) for path in paths]
        return [each for each in found if each]

    def sanity(self) -> tuple[pl.DataFrame, pl.DataFrame] | None:
        """Rows and shuffled pairs with weights drawn anew, of all models; None: there are none.

        Raises:
            StoreError: a file is damaged.
        """
        paths = self.listed("sanity", "*.parquet")
        shuffled = [path for path in paths if path.stem.endswith("-shuffled")]
        rows = [path for path in paths if path not in shuffled]
        if not rows:
            return None
        found = [pl.concat(map(self.read_frame, each)) for each in (rows, shuffled)]
        return found[0], found[1]

    def samples(self) -> pl.DataFrame:
        """Every image's part and hash.

        Raises:
            StoreError: the file is missing or damaged.
        """
        path = self.folder / "samples.parquet"
        frame = self.read_frame(path)
        check_columns(frame, SAMPLE_SCHEMA, path)
        if not frame["sha256"].str.contains(r"^[0-9A-Za-z]+$").all():  # a part of a file's name
            raise StoreError(f"{str(path)!r} is not what lookaway writes: at sha256")
        return frame

    def samples_of(self, part: str, variant: str) -> pl.DataFrame:
        """The images of a part that a variant has, in order.

        Raises:
            StoreError: the file is missing or damaged.
        """
        here = pl.col("variants").list.contains(variant)
        return self.samples().filter(pl.col("part") == part, here)

    def write_cell(self, key: CellKey, result: CellResult, weights: str = "") -> None:
        """Keep a cell: everything else first, then the rows, which make it count as done.

        Args:
            key: which cell.
            result: what was measured.
            weights: the hash of the trained weights that it was made with; each file has it.
        """
        made_with = {"weights": weights}
        if result.scores:
            self.write_arrays(f"scores/{key.stem}.safetensors", result.scores, made_with)
        self.write_perturbations(key, result.perturbations, weights)
        self.write_arrays(f"maps/{key.stem}.safetensors", result.maps, made_with)
        self.write_frame(f"shuffled/{key.stem}.parquet", result.shuffled, made_with)
        self.write_frame(f"statistics/{key.stem}.parquet", result.statistics, made_with)
        self.write_frame(f"rows/{key.stem}.parquet", result.rows, made_with)

    def write_perturbations(
        self, key: CellKey, perturbations: Mapping[str, Perturbation], weights: str = ""
    ) -> None:
        """Keep a model's perturbations by attack; a source's come before its cell is done."""
        arrays = {
            json.dumps([attack, kind]): array
            for attack, perturbation in perturbations.items()
            for kind, array in perturbation.arrays().items()
        }
        self.write_arrays(f"signs/{key.stem}.safetensors", arrays, {"weights": weights})

    def has_perturbations(self, key: CellKey, weights: str = "") -> bool:
        """Whether a source's perturbations are there, made with these weights; damage is told."""
        return self.made_with(f"signs/{key.stem}.safetensors", weights)

    def has_cell(self, key: CellKey, weights: str = "", *, scored: bool = False) -> bool:
        """Whether a cell is done with these weights and its files are what was written.

        Damaged files are told. A gallery's is ``scored``.
        """
        if not self.made_with(f"rows/{key.stem}.parquet", weights):
            return False
        parts = _PARTS | ({"scores": "safetensors"} if scored else {})
        names = [f"{folder}/{key.stem}.{kind}" for folder, kind in parts.items()]
        damaged = [name for name in names if not self.made_with(name, weights)]
        for name in damaged:
            self.note_damage(name)
        return not damaged

    def made_with(self, name: str, weights: str) -> bool:
        """Whether a file of a cell is there, made with these weights; damage is told."""
        path = self.folder / name
        if not path.is_file():
            return False
        try:
            return self.read_metadata(path).get("weights") == weights
        except StoreError:
            self.note_damage(name)
            return False

    def scan(
        self, folder: str, stem: str = "*", columns: Sequence[str] = ()
    ) -> Iterator[pl.DataFrame]:
        """The stored frames of cells, one at a time, in their order: memory follows from one cell.

        Args:
            folder: rows, shuffled or statistics.
            stem: a pattern of the cells' names.
            columns: those to read; empty: all.

        Raises:
            StoreError: there are none, or a file is damaged.
        """
        paths = self.listed(folder, f"{stem}.parquet")
        if not paths:
            raise StoreError(f"{str(self.folder)!r} holds no {folder} yet; run the study again")
        schema: Mapping[str, Any] | None = _SCHEMAS.get(folder)
        for path in paths:
            frame = self.read_frame(path, columns, SINCE if folder == "rows" else ())
            schema = schema or dict(frame.schema)
            wanted = {name: kind for name, kind in schema.items() if not columns or name in columns}
            check_columns(frame, wanted, path)
            yield frame.select(list(columns) or list(wanted))

    def frame(self, folder: str) -> pl.DataFrame:
        """All that ``scan`` reads, as one frame."""
        return pl.concat(self.scan(folder))

    def count(self) -> tuple[int, int]:
        """How many rows there are, and in how many of them a map is dead.

        Raises:
            StoreError: there are none, or a file is damaged.
        """
        rows = dead = 0
        for frame in self.scan("rows", columns=["clean_dead", "attacked_dead"]):
            rows += frame.height
            dead += int((frame["clean_dead"] | frame["attacked_dead"]).sum())
        return rows, dead

    def cells_with_maps(self) -> Iterator[tuple[pl.DataFrame, dict[str, np.ndarray]]]:
        """Each stored cell's rows and maps, in order.

        Raises:
            StoreError: a file is missing or damaged.
        """
        for path in self.listed("rows", "*.parquet"):
            maps = self.folder / "maps" / f"{path.stem}.safetensors"
            yield self.read_frame(path), self.read_arrays(maps)

    def read_scores(self, key: CellKey) -> dict[str, np.ndarray]:
        """The cosines of a gallery's cell; see ``study.scores``."""
        return self.read_arrays(self.folder / "scores" / f"{key.stem}.safetensors")

    def read_maps(self, key: CellKey) -> dict[str, np.ndarray]:
        """A cell's maps; see ``CellResult``."""
        return self.read_arrays(self.folder / "maps" / f"{key.stem}.safetensors")

    def read_perturbations(self, key: CellKey, shape: tuple[int, ...]) -> dict[str, Perturbation]:
        """A model's perturbations by attack.

        Args:
            key: of its cell.
            shape: (C, H, W) of an image.

        Raises:
            StoreError: they are missing or damaged.
        """
        stored = self.read_arrays(self.folder / "signs" / f"{key.stem}.safetensors")
        by_attack: dict[str, dict[str, np.ndarray]] = {}
        for name, array in stored.items():
            attack, kind = json.loads(name)
            by_attack.setdefault(attack, {})[kind] = array
        return {
            attack: Perturbation.from_arrays(arrays, shape) for attack, arrays in by_attack.items()
        }

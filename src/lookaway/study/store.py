"""A run's folder: files whole or absent, resumed where it stopped, read back without torch."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lookaway.errors import StoreError
from lookaway.hashing import digest
from lookaway.perturbation import Perturbation
from lookaway.rows import SAMPLE_SCHEMA
from lookaway.study.cell_result import CellResult as CellResult
from lookaway.study.changes import changed_images, differences
from lookaway.study.files import Files, as_parquet, check_writable
from lookaway.study.keys import CellKey, trained_name
from lookaway.study.numbers import scan
from lookaway.study.seal import is_sealed, sealed, slot
from lookaway.study.shapes import MANIFEST, TRAINED, check_columns, check_shape

LAYOUT = 4  # the version of the folder's layout

_NUMBERS = ("rows", "shuffled", "statistics")  # what summaries are made of
_HASHED = ("faces", "heads", "signs", "maps", "drift", "images", *_NUMBERS)
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

    def begin(self, plan: Mapping[str, Any], study_yaml: str, samples: pl.DataFrame) -> None:
        """Start a run here, or check that the run that is here is the same one.

        Args:
            plan: everything that changes results: settings, versions, hashes.
            study_yaml: the resolved study, to be kept beside it.
            samples: every image's part and hash, to be kept too.

        Raises:
            StoreError: the folder holds a run with other settings (each is named), or other
                files, or cannot be written.
        """
        old = self.known_plan()
        kept = {"plan": json.dumps(plan)}  # a copy, should plan.json be damaged
        if old is not None:
            # Files that were not used change no result, nor how weights lay in their file, nor
            # what the page shows.
            told = ("set_aside", "loaded", "report")
            before, after = (
                {name: part for name, part in whole.items() if name not in told}
                for whole in (old, plan)
            )
            changes = list(differences(before, after))
            if changes:
                if old.get("images") != plan["images"]:
                    changes += self._changed_images(samples)
                raise StoreError(
                    f"{str(self.folder)!r} holds a run that was made otherwise; results made "
                    "with different settings do not mix. Changed:\n"
                    + "\n".join(f"  {change}" for change in changes)
                    + "\nUndo the change, or give another --out."
                )
            for name in ("samples.parquet", "study.yaml"):
                if not is_sealed(self.read_bytes(name) or b""):
                    self.note_damage(name)
        else:
            self.check_usable()
        place = slot()
        self.write_frame("samples.parquet", samples, kept)
        text = f"{study_yaml}# checksum: {place}\n".encode()
        self.write_bytes("study.yaml", sealed(text, place))
        self.write_json("plan.json", plan)

    def known_plan(self) -> dict[str, Any] | None:
        """The plan of the run that is here, or None; where it is damaged, its copy.

        Raises:
            StoreError: the copy is damaged too.
        """
        try:
            return self.read_json("plan.json")
        except StoreError:
            self.note_damage("plan.json")
        try:
            _, kept = self.read_kept(self.folder / "samples.parquet")
            plan: dict[str, Any] = json.loads(kept["plan"])
        except (StoreError, KeyError, ValueError) as error:
            raise StoreError(
                f"{str(self.folder / 'plan.json')!r} is damaged, and so is its copy in "
                "samples.parquet, so what the stored results were made with is not known; give "
                "another --out"
            ) from error
        return plan

    def _changed_images(self, samples: pl.DataFrame) -> list[str]:
        """Which images differ from the stored ones."""
        try:
            return changed_images(self.samples(), samples)
        except StoreError:
            return []

    def read_plan(self) -> dict[str, Any]:
        """What a run is, as it was begun.

        Raises:
            StoreError: there is no run here.
        """
        plan = self.read_json("plan.json")
        if plan is None:
            raise StoreError(
                f"{str(self.folder)!r} holds no run of lookaway; make one with "
                "`lookaway run STUDY.yaml --out DIR` or `lookaway demo --out DIR`"
            )
        if plan.get("layout") != LAYOUT:
            raise StoreError(
                f"{str(self.folder)!r} has the layout {plan.get('layout')!r}; this version of "
                f"lookaway reads layout {LAYOUT}"
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

    def check_rows(self, manifest: Mapping[str, Any]) -> None:
        """Refuse a finished run whose numbers are not those that it finished with.

        Raises:
            StoreError: with the files that are missing, altered or strange.
        """
        check_shape(manifest, MANIFEST, str(self.folder / "manifest.json"))
        stored = {
            name: sha
            for name, sha in manifest["files"].items()
            if name.partition("/")[0] in _NUMBERS
        }
        found = {
            f"{folder}/{path.name}": digest(path.read_bytes())
            for folder in _NUMBERS
            for path in self.listed(folder, "*.parquet")
        }
        odd = sorted(name for name in {*stored, *found} if stored.get(name) != found.get(name))
        if odd:
            raise StoreError(
                f"the run in {str(self.folder)!r} is damaged: {', '.join(odd[:5])} missing or "
                "altered; run the study again, and only what is damaged is made again"
            )

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest, last of all, with the hash of every file that holds results."""
        files = {
            f"{folder}/{path.name}": digest(path.read_bytes())
            for folder in _HASHED
            for path in self.listed(folder)
        }
        self.write_json("manifest.json", {**manifest, "files": files})

    def trained(self) -> dict[str, dict[str, Any]]:
        """What was trained of each model: which layers, the best epoch, the weights' hash.

        By ``trained_name``.
        """
        return {
            name: {
                "trained": about["trained"],
                "best_epoch": about["best_epoch"],
                "val_accuracy": about["history"][about["best_epoch"] - 1]["val_accuracy"],
                "sha256": about["sha256"],
            }
            for name, about in self._heads()
        }

    def histories(self) -> dict[str, dict[str, Any]]:
        """How each model was trained: the best epoch, and loss and accuracy of every epoch.

        Returns:
            By ``trained_name``, ``best_epoch`` (from 1) and ``history``: a record of each epoch
            with epoch, train_loss, train_accuracy, val_loss and val_accuracy.
        """
        return {
            name: {key: about[key] for key in ("best_epoch", "history")}
            for name, about in self._heads()
        }

    def _heads(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What is stored beside each trained network's weights, by ``trained_name``."""
        for path in self.listed("heads", "*.json"):
            about = self.read_json(f"heads/{path.name}") or {}
            check_shape(about, TRAINED, str(path))
            if not 1 <= about["best_epoch"] <= len(about["history"]):
                raise StoreError(f"{str(path)!r} is not what lookaway writes: at best_epoch")
            yield trained_name(about["model"], about["variant"]), about

    def drifts(self) -> list[dict[str, Any]]:
        """How far each model is from float32, in order; none in a study in float32."""
        paths = self.listed("drift", "*.json")
        return [self.read_json(f"drift/{path.name}") or {} for path in paths]

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
            weights: the hash of the trained weights that it was made with.
        """
        kept = {
            "weights": weights,
            "signs": digest(self.write_perturbations(key, result.perturbations, weights)),
        }
        name = f"maps/{key.stem}.safetensors"
        kept["maps"] = digest(self.write_arrays(name, result.maps, {"weights": weights}))
        for folder, frame in (("shuffled", result.shuffled), ("statistics", result.statistics)):
            raw = as_parquet(frame)
            self.write_bytes(f"{folder}/{key.stem}.parquet", raw)
            kept[folder] = digest(raw)
        self.write_frame(f"rows/{key.stem}.parquet", result.rows, metadata=kept)

    def write_perturbations(
        self, key: CellKey, perturbations: Mapping[str, Perturbation], weights: str = ""
    ) -> bytes:
        """Keep a model's perturbations by attack; a source's come before its cell is done."""
        arrays = {
            json.dumps([attack, kind]): array
            for attack, perturbation in perturbations.items()
            for kind, array in perturbation.arrays().items()
        }
        return self.write_arrays(f"signs/{key.stem}.safetensors", arrays, {"weights": weights})

    def has_perturbations(self, key: CellKey, weights: str = "") -> bool:
        """Whether a source's perturbations are there, made with these weights; damage is told."""
        name = f"signs/{key.stem}.safetensors"
        if not (self.folder / name).is_file():
            return False
        try:
            return self.arrays_kept(self.folder / name).get("weights") == weights
        except StoreError:
            self.note_damage(name)
            return False

    def has_cell(self, key: CellKey, weights: str = "") -> bool:
        """Whether a cell is done with these weights and its files are what was written.

        Damaged files are told.
        """
        kept = self._kept(f"rows/{key.stem}.parquet")
        if kept is None or kept.get("weights") != weights:
            return False
        damaged = [
            name
            for part, kind in _PARTS.items()
            for name in [f"{part}/{key.stem}.{kind}"]
            if digest(self.read_bytes(name) or b"") != kept.get(part)
        ]
        for name in damaged:
            self.note_damage(name)
        return not damaged

    def _kept(self, name: str) -> dict[str, str] | None:
        """What was kept with a Parquet file; None where it is absent or damaged, which is told."""
        if not (self.folder / name).is_file():
            return None
        try:
            return self.read_kept(self.folder / name)[1]
        except StoreError:
            self.note_damage(name)
            return None

    def rows(self) -> pl.DataFrame:
        """Every measurement, in the order of cells, images and settings.

        Raises:
            StoreError: there are none, or a file is damaged.
        """
        return pl.concat(scan(self, "rows"))

    def shuffled(self) -> pl.DataFrame:
        """Each clean heatmap against another image's, in the order of cells and layers.

        Raises:
            StoreError: there are none, or a file is damaged.
        """
        return pl.concat(scan(self, "shuffled"))

    def statistics(self) -> pl.DataFrame:
        """What was measured of the last layers' maps, beside NISSIM; see ``rows.statistic_rows``.

        Raises:
            StoreError: there are none, or a file is damaged.
        """
        return pl.concat(scan(self, "statistics"))

    def cell_rows(self, key: CellKey) -> pl.DataFrame:
        """A cell's rows."""
        return self.read_frame(self.folder / "rows" / f"{key.stem}.parquet")

    def cells_with_maps(self) -> Iterator[tuple[pl.DataFrame, dict[str, np.ndarray]]]:
        """Each stored cell's rows and maps, in order.

        Raises:
            StoreError: a file is missing or damaged.
        """
        for path in self.listed("rows", "*.parquet"):
            maps = self.folder / "maps" / f"{path.stem}.safetensors"
            yield self.read_frame(path), self.read_arrays(maps)

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

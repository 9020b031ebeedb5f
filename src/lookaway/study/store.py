"""A run's folder: files whole or absent, resumed where it stopped, read back without torch."""

import io
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from lookaway.errors import StoreError
from lookaway.hashing import digest

LAYOUT = 1  # the version of the folder's layout

ROW_SCHEMA = {
    "image": pl.String,
    "label": pl.String,
    "variant": pl.String,
    "model": pl.String,
    "attack": pl.String,
    "source": pl.String,
    "epsilon": pl.Float64,
    "linf": pl.Float64,
    "psnr": pl.Float64,
    "clean_class": pl.String,
    "attacked_class": pl.String,
    "clean_confidence": pl.Float64,
    "attacked_confidence": pl.Float64,
    "layer": pl.String,
    "depth": pl.Float64,
    "map_size": pl.String,
    "explained_class": pl.String,
    "nissim": pl.Float64,
    "clean_dead": pl.Boolean,
    "attacked_dead": pl.Boolean,
}
SAMPLE_SCHEMA = {
    "image": pl.String,
    "label": pl.String,
    "part": pl.String,
    "pictured": pl.Boolean,
    "sha256": pl.String,
}


@dataclass(frozen=True)
class CellKey:
    """Which cell: a variant, a model (by its place in the study) and a shard of the test images."""

    variant: str
    model_index: int
    model: str
    shard: int

    @property
    def stem(self) -> str:
        """The cell's file name: safe on every system, and in order."""
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", self.model)[:40].strip(".-")
        return f"{self.variant}-{self.model_index:03d}-{plain}-{self.shard:05d}"


def map_key(what: str, layer: str, policy: str, attack: str = "", source: str | None = None) -> str:
    """The name of an array of maps; any text is safe in it."""
    return json.dumps([what, layer, policy, attack, source], ensure_ascii=True)


class Store:
    """The files of one run.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    # What a run is

    def check_usable(self) -> None:
        """Refuse a folder that cannot be written, or holds other files, before any work.

        Raises:
            StoreError: with the reason.
        """
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise StoreError(f"{str(self.folder)!r} is a file; give a folder with --out")
            there = self.folder
            while not there.exists() and there != there.parent:
                there = there.parent
            if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
                raise StoreError(f"{str(there)!r} cannot be written; give another --out")
            names = (
                {path.name for path in self.folder.iterdir() if path.name[0] != "."}
                if self.folder.is_dir()
                else set()
            )
        except (OSError, ValueError) as error:
            raise StoreError(f"{str(self.folder)!r} cannot be used: {error}") from error
        # A run that was killed at once leaves its samples, then its study, and no plan yet.
        begun = names <= {"samples.parquet", "study.yaml"} and names != {"study.yaml"}
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
        old = self.read_json("plan.json")
        if old is not None:
            told = ("set_aside",)  # files that were not used change no result
            before, after = (
                {name: part for name, part in whole.items() if name not in told}
                for whole in (old, plan)
            )
            changes = list(_differences(before, after))
            if changes:
                if old.get("images") != plan["images"]:
                    changes += _changed_images(self.samples(), samples)
                raise StoreError(
                    f"{str(self.folder)!r} holds a run that was made otherwise; results made "
                    "with different settings do not mix. Changed:\n"
                    + "\n".join(f"  {change}" for change in changes)
                    + "\nUndo the change, or give another --out."
                )
            self.write_json("plan.json", plan)
            return
        self.check_usable()
        self.write_frame("samples.parquet", samples)
        self.write_text("study.yaml", study_yaml)
        self.write_json("plan.json", plan)

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
            for left in self.folder.rglob(".*.part"):
                left.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{str(self.folder)!r} cannot be written: {error}") from error

    def check_rows(self, manifest: Mapping[str, Any]) -> None:
        """Refuse a finished run whose row files are not those that it finished with.

        Raises:
            StoreError: with the files that are missing, altered or strange.
        """
        stored = {
            name: sha for name, sha in manifest.get("files", {}).items() if name[:5] == "rows/"
        }
        found = {
            f"rows/{path.name}": digest(path.read_bytes())
            for path in (self.folder / "rows").glob("*.parquet")
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
            path.relative_to(self.folder).as_posix(): digest(path.read_bytes())
            for folder in ("heads", "signs", "rows", "maps", "images")
            for path in sorted((self.folder / folder).glob("*"))
            if path.is_file() and not path.name.startswith(".")
        }
        self.write_json("manifest.json", {**manifest, "files": files})

    # Samples

    def samples(self) -> pl.DataFrame:
        """Every image's part and hash.

        Raises:
            StoreError: the file is missing or damaged.
        """
        return self._frame(self.folder / "samples.parquet")

    # Cells

    def write_cell(
        self,
        key: CellKey,
        rows: Mapping[str, Sequence[Any]],
        maps: Mapping[str, np.ndarray],
        signs: Mapping[str, np.ndarray],
        weights: str = "",
    ) -> None:
        """Keep a cell: maps and signs first, then the rows, which make it count as done.

        Args:
            key: which cell.
            rows: columns as in ``ROW_SCHEMA``.
            maps: arrays by ``map_key``.
            signs: packed signs by attack.
            weights: the hash of the trained weights that it was made with.
        """
        kept = {"weights": weights}
        for folder, arrays in (("maps", maps), ("signs", signs)):
            raw = save_arrays({name: np.ascontiguousarray(a) for name, a in arrays.items()})
            self._write(self.folder / folder / f"{key.stem}.safetensors", raw)
            kept[folder] = digest(raw)
        frame = pl.DataFrame(dict(rows), schema=ROW_SCHEMA)
        self.write_frame(f"rows/{key.stem}.parquet", frame, metadata=kept)

    def has_cell(self, key: CellKey, weights: str = "") -> bool:
        """Whether a cell is done with these weights and its files are what was written."""
        path = self.folder / "rows" / f"{key.stem}.parquet"
        if not path.is_file():
            return False
        try:
            kept = pl.read_parquet_metadata(path)
            return kept["weights"] == weights and all(
                digest((self.folder / part / f"{key.stem}.safetensors").read_bytes()) == kept[part]
                for part in ("maps", "signs")
            )
        except (OSError, KeyError, pl.exceptions.PolarsError):
            return False

    def rows(self) -> pl.DataFrame:
        """Every measurement, in the order of cells, images and settings.

        Raises:
            StoreError: there are none, or a file is damaged.
        """
        paths = sorted((self.folder / "rows").glob("*.parquet"))
        if not paths:
            raise StoreError(f"{str(self.folder)!r} holds no rows yet; run the study again")
        return pl.concat([self._frame(path) for path in paths])

    def read_maps(self, key: CellKey) -> dict[str, np.ndarray]:
        """A cell's maps; see ``cell.CellOutput``."""
        return self._arrays("maps", key)

    def read_signs(self, key: CellKey) -> dict[str, np.ndarray]:
        """A cell's packed signs by attack."""
        return self._arrays("signs", key)

    # Files

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the run, or None where it is not there.

        Raises:
            StoreError: it is damaged.
        """
        path = self.folder / name
        try:
            if not path.is_file():
                return None
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(f"{str(path)!r} cannot be read: {error}") from error
        if not isinstance(value, dict):
            raise StoreError(f"{str(path)!r} is not what lookaway writes")
        return value

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file whole."""
        self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a text file whole."""
        self._write(self.folder / name, text.encode("utf-8"))

    def write_bytes(self, name: str, raw: bytes) -> None:
        """Write a file whole."""
        self._write(self.folder / name, raw)

    def write_frame(
        self, name: str, frame: pl.DataFrame, metadata: dict[str, str] | None = None
    ) -> None:
        """Write a Parquet file whole."""
        buffer = io.BytesIO()
        frame.write_parquet(buffer, metadata=metadata)
        self._write(self.folder / name, buffer.getvalue())

    def _frame(self, path: Path) -> pl.DataFrame:
        try:
            return pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StoreError(
                f"{str(path)!r} is missing or damaged ({error}); delete it and run the study again"
            ) from error

    def _arrays(self, folder: str, key: CellKey) -> dict[str, np.ndarray]:
        path = self.folder / folder / f"{key.stem}.safetensors"
        try:
            return load_arrays(path.read_bytes())
        except (OSError, SafetensorError) as error:
            raise StoreError(
                f"{str(path)!r} is missing or damaged ({error}); run the study again"
            ) from error

    def _write(self, path: Path, raw: bytes) -> None:
        """Write aside, then rename: a file is whole or absent."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(raw)
                    file.flush()
                    os.fsync(file.fileno())
                Path(aside).chmod(0o644)
                Path(aside).replace(path)
            except BaseException:
                Path(aside).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise StoreError(
                f"{str(path)!r} cannot be written: {error.strerror or error}; what is stored "
                "stays, and the same command goes on from there"
            ) from error


def _differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """What changed, setting by setting."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            inner = f"{place}.{name}" if place else str(name)
            if name not in new:
                yield f"{inner}: was {_short(old[name])}, now gone"
            elif name not in old:
                yield f"{inner}: new, {_short(new[name])}"
            else:
                yield from _differences(old[name], new[name], inner)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _differences(before, after, f"{place}[{index}]")
    elif old != new:
        yield f"{place}: {_short(old)} → {_short(new)}"


def _changed_images(old: pl.DataFrame, new: pl.DataFrame) -> list[str]:
    """Which images came, went or have another content."""
    before, after = (dict(frame.select("image", "sha256").iter_rows()) for frame in (old, new))
    faults = {
        "added": [name for name in after if name not in before],
        "gone": [name for name in before if name not in after],
        "of other content": [
            name for name in before if name in after and before[name] != after[name]
        ],
    }
    return [
        f"images {what}: {', '.join(names[:3])}{', …' if len(names) > 3 else ''} ({len(names)})"
        for what, names in faults.items()
        if names
    ]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"

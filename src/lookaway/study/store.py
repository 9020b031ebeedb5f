"""A run's folder: files whole or absent, resumed where it stopped, read back without torch."""

from pathlib import Path

import polars as pl

from lookaway.errors import StoreError
from lookaway.rows import SAMPLE_SCHEMA
from lookaway.study.cell_files import CellFiles
from lookaway.study.cell_reading import FRAMES
from lookaway.study.cell_result import CellResult as CellResult
from lookaway.study.changes import changed_images, differences
from lookaway.study.fields import STORED
from lookaway.study.files import check_columns, check_writable
from lookaway.study.json_files import Drift, Manifest, Plan, TrainedModel
from lookaway.study.keys import trained_name
from lookaway.study.plan import write_study

SANITY_PARTS = ("head", "all")  # of a network, whose weights are drawn anew
# What an environment is: other versions or another device would make every number anew.
_AROUND = ("layout", "device", "shard", "versions")
_SUMMED = ("tables", "figures", "frames")


class Store(CellFiles):
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

    def begin(self, plan: Plan, samples: pl.DataFrame) -> list[str]:
        """Start a run here, or go on with the one that is here, whose study may have changed.

        Args:
            plan: everything that changes results; its settings are kept as ``study.yaml`` too, for
                people.
            samples: every image's part and hash, to be kept too.

        Returns:
            What changed of what changes results, a line for each change.

        Raises:
            StoreError: the folder holds a run that another version or device made (what differs is
                named), or other files, or cannot be written.
        """
        old, changes = self.known_plan(), []
        if old is not None:
            self._check_around(old, plan)
            changes = list(differences(old.results(), plan.results()))
            for name in ("samples.parquet", "study.yaml"):
                if not self.is_whole(name):
                    self.note_damage(name)
            if changes and old.images != plan.images:
                changes += self._changed_images(samples)
            if changes:
                self._remove_sums()
        else:
            self.check_usable()
        # With a copy of the plan: were that one file damaged, no result could be used any more.
        self.write_frame("samples.parquet", samples, {"plan": plan.model_dump_json()})
        self.write_yaml("study.yaml", write_study(plan.settings))
        self.write_model("plan.json", plan)
        self.use(plan, samples)
        return changes

    def _check_around(self, old: Plan, new: Plan) -> None:
        """Refuse what would make a run anew that nobody changed.

        Raises:
            StoreError: with what differs.
        """
        before, after = old.results(), new.results()
        here = {name for name in before["versions"] if name in after["versions"]}
        for about in (before, after):
            about["versions"] = {name: about["versions"][name] for name in sorted(here)}
        changes = list(
            differences(
                {name: before[name] for name in _AROUND}, {name: after[name] for name in _AROUND}
            )
        )
        if changes:
            raise StoreError(
                f"{str(self.folder)!r} holds a run that was made otherwise; results made "
                "with different versions or on different devices do not mix. Changed:\n"
                + "\n".join(f"  {change}" for change in changes)
                + "\nUndo the change, or give another --out."
            )

    def _remove_sums(self) -> None:
        """Remove what sums up the study as it was: all of it is made again at the end."""
        for folder in _SUMMED:
            for path in self.listed(folder):
                self.remove(f"{folder}/{path.name}")

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

    def check_complete(self) -> None:
        """Refuse a finished run that lacks a cell's numbers.

        Raises:
            StoreError: with the files.
        """
        for folder in FRAMES:
            there = {path.stem for path in self.listed(folder, "*.parquet")}
            missing = [key.id for key in self.identity.cells() if key.id not in there]
            if missing:
                raise StoreError(
                    f"the run in {str(self.folder)!r} is damaged: "
                    f"{', '.join(f'{folder}/{id_}.parquet' for id_ in missing[:5])} missing; run "
                    "the study again, and only what is missing is made again"
                )

    def trained(self) -> dict[str, TrainedModel]:
        """How each model was trained, by ``trained_name``."""
        found = {}
        for key in self.identity.models():
            about = self.read_model(f"heads/{key.head}.json", TrainedModel) if key.head else None
            if about is not None:
                named = {"model": key.name, "variant": key.variant}
                found[trained_name(key.name, key.variant)] = about.model_copy(update=named)
        return found

    def drifts(self) -> list[Drift]:
        """How far each model is from float32, in order; none in a study in float32."""
        keys = list(self.identity.models())
        found = [self.read_model(self.identity.drift(key), Drift) for key in keys]
        return [
            each.model_copy(update={"model": key.name, "variant": key.variant})
            for key, each in zip(keys, found, strict=True)
            if each
        ]

    def sanity(self) -> tuple[pl.DataFrame, pl.DataFrame] | None:
        """Rows and shuffled pairs with weights drawn anew, of all models; None: there are none.

        Raises:
            StoreError: a file is damaged.
        """
        found: tuple[list[pl.DataFrame], list[pl.DataFrame]] = [], []
        for key in self.identity.models():
            for part in SANITY_PARTS:
                for frames, name in zip(found, self.identity.sanity(key, part), strict=True):
                    path = self.folder / name
                    if path.is_file():
                        frames.append(self.read_frame(path))
        return (pl.concat(found[0]), pl.concat(found[1])) if found[0] else None

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

"""A stored run, read back. No torch here."""

from functools import cached_property
from pathlib import Path

import polars as pl

from lookaway.analysis.by_group import keep_groups
from lookaway.analysis.frames import REGIONS, Frames
from lookaway.analysis.regions import pack, read_regions
from lookaway.analysis.subgroups import read_groups
from lookaway.places import AnyPath
from lookaway.study.json_files import Manifest
from lookaway.study.store import Store
from lookaway.summaries import Summaries


class Result(Summaries):
    """The rows and summaries of a run.

    Args:
        folder: where it is stored: a path, or a URL such as ``s3://bucket/runs/first``.

    Raises:
        StoreError: there is no run.
        RemoteError: the URL's store cannot be reached, or refuses.
    """

    def __init__(self, folder: AnyPath | str) -> None:
        self.store = Store(folder)
        self.folder = self.store.folder
        self.plan = self.frames.plan

    @cached_property
    def frames(self) -> Frames:
        """What sums it up."""
        return Frames(self.store)

    def __repr__(self) -> str:
        return f"Result({str(self.folder)!r}, {self.frames.counts[0]} rows)"

    @property
    def report(self) -> AnyPath:
        """The page."""
        return self.folder / "report.html"

    @property
    def manifest(self) -> Manifest:
        """What the finished run was made of: settings, versions, hashes, trainings; and its rows.

        Raises:
            StoreError: the run is not finished.
        """
        return self.store.read_manifest()

    def keep_groups(self, groups: str | Path | pl.DataFrame, column: str = "group") -> None:
        """Keep groups of people with the run, so that ``by_group`` and the page tell them.

        Args:
            groups: see ``by_group``.
            column: of the groups.

        Raises:
            DataError: the groups cannot be used.
            StoreError: the run cannot be written.
        """
        keep_groups(self.store, read_groups(groups, column, self.store.samples()), column)
        self.frames = Frames(self.store)

    def keep_regions(self, regions: str | Path | pl.DataFrame) -> None:
        """Keep regions with the run, so that ``direction`` and the page tell what is inside.

        Args:
            regions: boxes or masks; see ``analysis.regions.read_regions``.

        Raises:
            DataError: the regions cannot be used.
            StoreError: the run cannot be written.
        """
        found = read_regions(regions, self.frames.images)
        self.store.write_arrays(REGIONS, pack(found))
        self.frames = Frames(self.store)


def open_result(folder: AnyPath | str) -> Result:
    """Open a finished run.

    Args:
        folder: of the run: a path, or a URL such as ``s3://bucket/runs/first``.

    Raises:
        StoreError: there is no run there, it is not finished, or it is damaged.
        RemoteError: the URL's store cannot be reached, or refuses.
    """
    result = Result(folder)
    result.store.read_manifest()
    result.store.check_complete()
    return result

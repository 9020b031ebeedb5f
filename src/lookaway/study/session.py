"""One run of a study: what was prepared, its files, and who is told how far it is."""

from dataclasses import dataclass

from lookaway.progress import Reporter
from lookaway.study.prepare import Prepared
from lookaway.study.settings import Study
from lookaway.study.store import Store


@dataclass(frozen=True)
class Session:
    """What every stage of a run is given.

    Attributes:
        prepared: the study, its images and plan.
        store: the run's files.
        progress: told of stages, and of what went wrong.
    """

    prepared: Prepared
    store: Store
    progress: Reporter

    @property
    def study(self) -> Study:
        """The settings."""
        return self.prepared.study

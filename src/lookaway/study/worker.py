"""Does cells: holds a study and the model that it did last. It knows neither files nor engine."""

from collections.abc import Callable, Mapping

import numpy as np

from lookaway.models.classifier import Classifier
from lookaway.models.precision import computing
from lookaway.study.cell import attack_signs, run_cell
from lookaway.study.cell_data import CellOutput
from lookaway.study.cells import Job, cell_settings, load_shard
from lookaway.study.prepare import Prepared
from lookaway.study.settings import Study
from lookaway.study.trained import ready_model


class Worker:
    """Does one cell after another.

    Args:
        study: the settings.
        prepared: its images and plan.
    """

    def __init__(self, study: Study, prepared: Prepared) -> None:
        self._study, self._prepared = study, prepared
        self._ready: tuple[tuple[str, str, str], Classifier] | None = None

    def do(
        self,
        job: Job,
        given: Mapping[tuple[str, str], np.ndarray],
        weights: Callable[[], bytes | None],
        advance: Callable[[int], None] = lambda _: None,
    ) -> CellOutput:
        """Do a cell; where only its signs are wanted, the rest of the output is empty.

        Args:
            job: which.
            given: the signs of the sources for its images.
            weights: asked for the model's trained weights when it has to be loaded.
            advance: told of each batch of images done.
        """
        with computing():  # batch norm is folded where that changes nothing but rounding
            clf = self._model(job, weights)
        shard = load_shard(self._study, self._prepared, job.cell, given)
        settings = cell_settings(self._study, self._prepared, job.spec)
        if job.signs_only:
            signs = attack_signs(clf, shard, settings)
            advance(len(shard.images))
            return CellOutput({}, {}, signs, {})
        return run_cell(clf, job.spec.name, shard, settings, advance)

    def _model(self, job: Job, weights: Callable[[], bytes | None]) -> Classifier:
        """The job's model: the one at hand, or loaded now."""
        wanted = (job.spec.name, job.cell.key.variant if job.weights else "", job.weights)
        if self._ready is None or self._ready[0] != wanted:
            self._ready = None  # two would not always fit
            self._ready = (wanted, ready_model(self._study, self._prepared, job.spec, weights()))
        return self._ready[1]

"""Does cells: holds a study and the model that it did last. It knows neither files nor engine."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import torch

from lookaway.errors import ModelError, OutOfMemoryError
from lookaway.models.classifier import Classifier
from lookaway.models.precision import computing
from lookaway.study.beside import Ahead
from lookaway.study.cell import Shard, do_cell, perturb_cell
from lookaway.study.enrolled import raise_named
from lookaway.study.job import Given, Job
from lookaway.study.prepare import Prepared
from lookaway.study.store import CellResult
from lookaway.study.trained import ready_model


class Worker:
    """Does one cell after another, and reads the images of the next meanwhile."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._ready: tuple[tuple[str, str, str], Classifier] | None = None
        self._images = Ahead(partial(Shard.load, prepared), prepared.device)

    def close(self) -> None:
        """Wait until nothing is read any more."""
        self._images.close()

    def do(
        self,
        job: Job,
        given: Given,
        weights: Callable[[], bytes | None],
        advance: Callable[[int], None] = lambda _: None,
        following: Job | None = None,
    ) -> list[CellResult]:
        """Do the parts of a cell; of one for its perturbations alone the rest is empty.

        Args:
            job: which.
            given: other models' perturbations of its images.
            weights: asked for the model's trained weights when it has to be loaded.
            advance: told of each batch of images done.
            following: what comes next, whose images are read meanwhile.

        Raises:
            OutOfMemoryError: the device has too little for the model's batch size.
        """
        with suppress(torch.OutOfMemoryError):
            with computing():  # batch norm is folded where that changes nothing but rounding
                clf = self._model(job, weights)
            shard = self._images.take(job)
            if following is not None:
                self._images.begin(following)
            return _results(clf, shard, given, advance)
        # Behind the handler, so that no traceback holds what fills the memory.
        torch.cuda.empty_cache()
        raise OutOfMemoryError(job.spec.name)

    def _model(self, job: Job, weights: Callable[[], bytes | None]) -> Classifier:
        """The job's model: the one at hand, or loaded now."""
        wanted = (job.spec.name, job.key.variant if job.weights else "", job.weights)
        if self._ready is None or self._ready[0] != wanted:
            self._ready = None  # two would not always fit
            self._ready = (wanted, ready_model(self._prepared, job.spec, weights()))
        return self._ready[1]


def _results(
    clf: Classifier, shard: Shard, given: Given, advance: Callable[[int], None]
) -> list[CellResult]:
    """What is wanted of a cell; people whose images have no direction are named."""
    try:
        if not shard.job.perturbs_only:
            return do_cell(clf, shard, given, advance)
        perturbations = perturb_cell(clf, shard)
    except ModelError as error:
        if shard.job.spec.train == "enrol":
            images, _ = shard.tensors
            raise_named(error, clf, shard.names, lambda at: images[at : at + 1], "to compare")
        raise
    advance(len(shard.names))
    return [CellResult.of_perturbations(perturbations)]

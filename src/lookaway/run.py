"""The whole way from a study file to its page."""

import json
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookaway.analysis.shown_pairs import shown_pairs
from lookaway.data import duplicates
from lookaway.data.dataset import GIVEN
from lookaway.data.pixels import as_picture
from lookaway.data.samples import open_source
from lookaway.errors import InputError, OutOfMemoryError, StoreError
from lookaway.memory import kept_memory
from lookaway.models.classifier import Classifier
from lookaway.models.gallery import Embedder
from lookaway.models.precision import computing
from lookaway.places import AnyPath, RemotePath, lies_in, to_path
from lookaway.progress import Reporter, Silent, Terminal
from lookaway.report.loading import details
from lookaway.report.page import build_report
from lookaway.report.warnings import warnings
from lookaway.result import Result
from lookaway.study import on_devices
from lookaway.study.drift import measure_drift
from lookaway.study.grid_cache import grid_cache
from lookaway.study.json_files import Manifest
from lookaway.study.keys import picture_name
from lookaway.study.lock import locked
from lookaway.study.pair_maps import measure_pairs
from lookaway.study.plan import open_study
from lookaway.study.prepare import Prepared, prepare
from lookaway.study.sanity import measure_sanity
from lookaway.study.schedule import Open, open_jobs, run_here
from lookaway.study.session import Session
from lookaway.study.settings import Study
from lookaway.study.store import Store
from lookaway.study.thumbnails import keep_thumbnails
from lookaway.study.trainings import open_trainings, train_models
from lookaway.threads import wait_settings

if TYPE_CHECKING:
    from torch.utils.data import Dataset


def run_study(
    study: str | Path | Mapping[str, Any],
    out: str | AnyPath,
    *,
    models: Mapping[str, Classifier | Embedder] | None = None,
    data: "str | AnyPath | Dataset[Any] | None" = None,
    engine: str | None = None,
    address: str | None = None,
    trust_code: bool = False,
    progress: bool = True,
) -> Result:
    """Run a study, or go on with it: images, training, attacks, maps, rows, tables, page.

    Args:
        study: a study file, or what one holds, as a dictionary.
        out: the run's folder, or a URL such as ``s3://bucket/runs/first``; a run of the same study
            there goes on where it stopped.
        models: classifiers of yours that stand in for the study's models of these names, or
            embedders for those with ``train: enrol``; they stay as they are. A study without
            ``models`` has these. On this machine alone.
        data: an image folder or table, or its URL, in place of the study's; or a Dataset of pairs
            of an image (PIL, or an array or tensor, uint8 or float in [0, 1]) and its label (a
            name, or a number of its ``classes`` or ``class_to_idx``), without anything random. On
            this machine alone.
        engine: ``local`` or ``ray``, in place of the study's ``run.engine``.
        address: of a Ray cluster, in place of the study's ``run.address``.
        trust_code: whether networks, attacks and explainers of the user's own that the study
            names, as ``package.module:Name``, may be imported and run.
        progress: show stages and the time left on stderr.

    Returns:
        The result; ``result.report`` is the page.

    Raises:
        InputError: a model is no ``Classifier`` or ``Embedder``, or is to go to a Ray cluster.
        StudyError: the study, its images or its models cannot be used; it holds every problem.
        StoreError: the folder holds another run, cannot be written, or is in use by another
            process.
        EngineError: the Ray cluster cannot do the work.
        RemoteError: a URL's store cannot be reached, or refuses.
    """
    reporter: Reporter = Terminal() if progress else Silent()
    began = time.time()
    given = _classifiers(models or {})
    known = data is None or isinstance(data, str | Path | RemotePath)
    images = None if known else open_source(data)
    place: Any = data if known else GIVEN
    checked, lines, source = open_study(study, place, engine, address, trust_code, given)
    if (given or images) and (checked.run.engine == "ray" or checked.run.device == "all"):
        raise InputError(
            "models and images that are given in Python are measured by the local engine on one "
            "device; for Ray or several devices name what builds each model, in a module that "
            "every process can import: {name: mine, module: package.nets:build, …}, and a folder "
            "or a table"
        )
    store = Store(out, reporter.warn)
    store.check_usable()
    _check_apart(checked, store)
    with locked(out, reporter.warn):
        prepared = prepare(checked, lines, store, reporter, source, given, images)
        train, run_cells = _engine(prepared)
        doubtful = duplicates.warnings(prepared.plan.duplicates)
        for line in [*doubtful, *details(prepared.plan, choices=True)]:
            reporter.warn(line)
        for line in store.begin(prepared.plan, prepared.images.samples()):
            reporter.warn(f"changed since the last run here: {line}")
        store.reopen()
        with kept_memory(), computing(), grid_cache(store.folder) as cache:
            cached = replace(prepared.images, cache=cache)
            session = Session(replace(prepared, images=cached), store, reporter)
            _write_pictured(session.prepared, store)
            keep_thumbnails(cached, store, prepared.study.data.image_size)
            left = open_jobs(session)
            if 0 < left.units < left.wanted:
                reporter.warn(left.told())
            if train(session):
                left = open_jobs(session)
            session = _measured(session, left, run_cells)
            measure_drift(session)
            measure_sanity(session)
            measure_pairs(session, shown_pairs(store, prepared.plan))
        with reporter.stage("tables, figures and page", None):
            build_report(store)
        rows, dead = store.count()
        made = {**dict(prepared.plan), "trained": store.trained()}
        store.write_model("manifest.json", Manifest(**made, rows=rows, dead_pairs=dead))
        _log(store, began)
    result = Result(out)  # whose numbers were checked or written just now
    for line in warnings(result.frames) if progress else []:
        reporter.warn(line)
    return result


def stored_share(
    study: str | Path | Mapping[str, Any],
    out: str | AnyPath,
    *,
    data: str | AnyPath | None = None,
    trust_code: bool = False,
    progress: bool = True,
) -> list[str]:
    """How much of a study a run's folder has, as sentences; nothing is measured or written there.

    Images are read and models loaded, as for a run.

    Args:
        study: a study file, or what one holds, as a dictionary.
        out: the run's folder, or its URL; it need not be there.
        data: an image folder or table, in place of the study's.
        trust_code: whether code of the user's own that the study names may run.
        progress: show stages on stderr.

    Raises:
        StudyError: the study, its images or its models cannot be used; it holds every problem.
        StoreError: the folder holds no run, or cannot be read.
    """
    reporter: Reporter = Terminal() if progress else Silent()
    checked, lines, source = open_study(study, data, trust_code=trust_code)
    store = Store(out, reporter.warn)
    store.check_usable()
    prepared = prepare(checked, lines, None, reporter, source, old=store.known_plan())
    store.use(prepared.plan, prepared.images.samples())
    session = Session(prepared, store, reporter)
    names = [job.name for job in open_trainings(session)]
    trainings = [f"to be trained: {', '.join(names)}"] if names else []
    return [open_jobs(session).told(), *trainings]


def _classifiers(
    models: Mapping[str, Classifier | Embedder],
) -> dict[str, Classifier | Embedder]:
    """Models that the caller gives, if they can be some."""
    for name, clf in models.items():
        if not isinstance(clf, Classifier | Embedder):
            raise InputError(
                f"models[{name!r}] is a {type(clf).__name__}; give a lookaway.Classifier, such as "
                "Classifier(module, mean=…, std=…, input_size=…)"
            )
    return dict(models)


def _measured(session: Session, left: Open, run_cells: Callable[[Session, Open], None]) -> Session:
    """Do all cells; where a model's batch does not fit into memory, with half of it, for good.

    Raises:
        OutOfMemoryError: one image does not fit.
    """
    while True:
        try:
            run_cells(session, left)
            return session
        except OutOfMemoryError as error:
            session = _with_half_the_batch(session, error)
        left = open_jobs(session)


def _with_half_the_batch(session: Session, short: OutOfMemoryError) -> Session:
    """A session that goes on with half a model's batch size, which the run's plan has from now."""
    prepared, store = session.prepared, session.store
    sizes = prepared.plan.batch_sizes
    if sizes[short.model] == 1:
        raise short
    half = {**sizes, short.model: sizes[short.model] // 2}
    plan = prepared.plan.model_copy(update={"batch_sizes": half})
    session.progress.warn(
        f"memory does not hold {sizes[short.model]} images of {short.model!r} at once: from now on "
        f"it works on {half[short.model]}, and so do all its cells"
    )
    store.begin(plan, prepared.images.samples())
    return replace(session, prepared=replace(prepared, plan=plan))


def _engine(
    prepared: Prepared,
) -> tuple[Callable[[Session], bool], Callable[[Session, Open], None]]:
    """What trains a study's models, and what does its cells, where it can.

    Ray is imported only where it is asked for.
    """
    if prepared.study.run.engine == "ray":
        from lookaway.study import on_ray, ray_cluster, trainings_on_ray

        ray_cluster.check_cluster(prepared)
        return trainings_on_ray.train_models, on_ray.run_cells
    if len(prepared.devices) > 1:
        return train_models, on_devices.run_cells
    return train_models, run_here


def _check_apart(study: Study, store: Store) -> None:
    """Refuse a run's folder inside the image folder: its pictures would become a class."""
    if study.data.folder in (None, GIVEN):
        return  # a table lists its images
    images = to_path(study.data.folder)
    if lies_in(store.folder, images):
        raise StoreError(
            f"{str(store.folder)!r} lies inside the image folder {str(images)!r}, where its "
            "pictures would be taken for images; give another --out"
        )


def _write_pictured(prepared: Prepared, store: Store) -> None:
    """Keep the pictured images as each variant has them on the grid."""
    images, size = prepared.images, prepared.study.data.image_size
    for variant in images.variants:
        for record in images.parts["test"]:
            if record.image in images.pictured:
                picture = as_picture(images.grid(variant, record, size))
                name = picture_name(store.identity.preparation(variant), record.sha256)
                store.keep_with(name, partial(picture.save, format="PNG"))


def _log(store: Store, began: float) -> None:
    """When and where this was run: kept apart from what is hashed or compared."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(began))
    about = {
        "began": stamp,
        "seconds": round(time.time() - began, 1),
        "host": platform.node(),
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "threads_wait": wait_settings(),
        "made_again": store.damaged,
    }
    store.write_text(f"log/{stamp}.json", json.dumps(about, indent=2) + "\n")

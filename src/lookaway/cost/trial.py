"""A study tried on a few images, to learn what it would take.

Networks have random weights, for what they hold changes no cost, so none is fetched.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from lookaway.cost.counts import Counts
from lookaway.cost.faces import face_seconds
from lookaway.cost.model_trial import Bench, ModelTrial, try_model
from lookaway.cost.pictures import SIDE, few_pictures, make_pictures
from lookaway.data.folder import Record
from lookaway.hashing import digest
from lookaway.memory import kept_memory
from lookaway.progress import Reporter, Silent
from lookaway.study.files import as_parquet
from lookaway.study.images import Images, Variant
from lookaway.study.prepare import prepare
from lookaway.study.settings import Split, Study
from lookaway.study.store import Store
from lookaway.study.yaml_lines import Lines

LEAST = 6  # images of a trial
_LISTED = 1000  # images whose list is weighed


@dataclass(frozen=True)
class Trial:
    """What a study's parts take, on this machine.

    Attributes:
        reading: seconds for an image, before anything else.
        faces: seconds for an image, all variants together.
        sample_bytes: of the list of images, for one.
        shard: images in a cell.
        device: where the models work.
        models: by name.
    """

    reading: float
    faces: float
    sample_bytes: float
    shard: int
    device: str
    models: dict[str, ModelTrial]


def try_study(
    study: Study,
    counts: Counts,
    images: int,
    progress: Reporter,
    lines: Lines | None = None,
    source: str = "the study",
) -> Trial:
    """Try a study.

    Args:
        study: checked settings.
        counts: of its images.
        images: how many to try it on, at least ``LEAST``.
        progress: told of the models done.
        lines: of the study file, for errors.
        source: its name, for errors.

    Raises:
        StudyError: a model cannot be used.
        DataError: the images cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="lookaway-plan-") as folder, kept_memory():
        made = Path(folder) / "pictures"
        make_pictures(made, max(images, LEAST), round(SIDE * study.data.image_size))
        small = _small(study, made)
        prepared = prepare(small, lines, None, Silent(), source)
        source_of, records, reading = few_pictures(counts, made, images)
        here = Variant("none", dict.fromkeys(("train", "val", "test"), records), {}, {})
        its_images = replace(
            prepared.images,
            source=source_of,
            classes=list(counts.classes),
            parts=here.parts,
            pictured=frozenset(),
            variants={"none": here},
        )
        ready = replace(prepared, images=its_images)
        bench = Bench(study, small, ready, Store(Path(folder) / "run"))
        models = {}
        with progress.stage("trial", len(study.models), "models") as advance:
            for index, spec in enumerate(study.models):
                models[spec.name] = try_model(bench, index)
                advance(1)
        faces = sum(face_seconds(name, source_of, records) for name in study.data.variants)
        shard = int(prepared.plan["shard"])
        size = _sample_bytes(its_images)
        return Trial(reading, faces, size, shard, prepared.device, models)


def _small(study: Study, folder: Path) -> Study:
    """The same study on a few made images, with networks that need no weights.

    Where the clean and the attacked image's own classes are explained, the trial explains two
    classes that are never the same, as if every attack changed the class.
    """
    own = set(study.explain.explained_class) == {"own", "clean"}
    data = study.data.model_copy(
        update={
            "folder": str(folder),
            "classes": None,
            "variants": ["none"],
            "landmarks": None,
            "split": Split(seed=study.data.split.seed),
        }
    )
    untrained = {
        "train": "none",
        "pretrained": False,
        "checkpoint": None,
        "averaged": None,
        "classes": None,
        "other_classes": "cut",
    }
    return study.model_copy(
        update={
            "data": data,
            "models": [spec.model_copy(update=untrained) for spec in study.models],
            "explain": study.explain.model_copy(
                update={"explained_class": ["clean", "label"]} if own else {}
            ),
        }
    )


def _sample_bytes(images: Images) -> float:
    """What one image takes in the list of a run's images."""
    label = images.classes[-1]
    parts = {
        "test": [
            Record(f"{label}/{index:04d}_01.jpg", label, digest(str(index)))
            for index in range(_LISTED)
        ]
    }
    here = replace(images.variants["none"], parts=parts)
    many = replace(images, parts=parts, variants={"none": here})
    return len(as_parquet(many.samples())) / _LISTED

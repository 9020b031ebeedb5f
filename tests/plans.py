"""Plans of runs that nothing was run for."""

import json

from lookaway.study.fields import STORED
from lookaway.study.json_files import LAYOUT, Manifest, Plan

_NONE = {"count": 0, "sha256": "0"}


def a_plan(models=("one",), images=6, lost=0, layers=("last",), settings=None, **fields):
    """A plan of untrained models; the last variant has ``lost`` of the test images less."""
    settings = settings or {}
    timm = models if isinstance(models, dict) else dict.fromkeys(models, "test_resnet")
    given = {
        "models": [{"name": name, "timm": kind, "train": "none"} for name, kind in timm.items()],
        "measure": {"grid": 32},
        "controls": {"shifted": 0},
        **settings,
        "data": {"folder": "images", "image_size": 32, **settings.get("data", {})},
    }
    variants = given["data"].get("variants", ["none"])
    if "landmarks" in variants:
        given["data"]["landmarks"] = "points"
    counts = {name: images - (lost if name == variants[-1] else 0) for name in variants}
    about = {
        "layout": LAYOUT,
        "settings": given,
        "norm": "linf",
        "own_size": [],
        "gradient_free": [],
        "device": "cpu",
        "shard": 64,
        "versions": {"lookaway": "0", "torch": "0"},
        "own_code": {},
        "classes": ["a", "b"],
        "images": parts(images),
        "variants": {
            name: {"aligner": {}, "without_face": 0, "images": parts(count)}
            for name, count in counts.items()
        },
        "duplicates": {
            name: {"count": 0, "images": []} for name in ("across_parts", "across_classes")
        },
        "set_aside": {},
        "batch_sizes": dict.fromkeys(timm, 8),
        "weights": dict.fromkeys(timm, "0"),
        "class_order": {},
        "loaded": {name: {} for name in timm},
        "layers": {name: list(layers) for name in timm},
        "last_layers": dict.fromkeys(timm, layers[-1]),
        "last_sizes": {name: [2, 2] for name in timm},
        "training_precision": "float32",
        **fields,
    }
    return Plan.model_validate_json(json.dumps(about), context=STORED)


def write_json(store, name, held):
    """Write a JSON file under a right checksum, whatever it holds."""
    store.write_checked(name, lambda place: json.dumps({**held, "checksum": place}).encode())


def parts(test):
    return {"train": _NONE, "val": _NONE, "test": {"count": test, "sha256": "0"}}


def with_settings(plan, **sections):
    """The plan with some settings exchanged; a section is updated, a list is replaced."""
    about = plan.model_dump(mode="json")
    for name, new in sections.items():
        old = about["settings"][name]
        about["settings"][name] = {**old, **new} if isinstance(new, dict) else new
    for variant in about["settings"]["data"]["variants"]:
        about["variants"].setdefault(variant, next(iter(about["variants"].values())))
    return Plan.model_validate_json(json.dumps(about), context=STORED)


def a_manifest(plan=None, rows=1):
    """What says that a run is finished."""
    made = dict(plan or a_plan())
    return Manifest(**made, trained={}, rows=rows, dead_pairs=0)

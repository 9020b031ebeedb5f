"""Whatever changes a number changes the key that it is kept under, and no other number's."""

import importlib
import sys
from functools import cache

import polars as pl
import pytest

from lookaway.errors import InputError
from lookaway.own_code import own_code
from lookaway.rows import SAMPLE_SCHEMA
from lookaway.study.identity import Identity
from lookaway.study.settings import Study
from plans import a_plan, parts

SETTINGS = {
    "data": {"variants": ["none", "cascade"]},
    "models": [
        {"name": "one", "timm": "test_resnet", "train": "head"},
        {"name": "two", "module": "nets:build", "mean": [0.5], "std": [0.5], "train": "none"},
    ],
    "transfer_from": ["two"],
    "attacks": ["fgsm", {"name": "mine", "attacks:Mine": {"steps": 2}}],
    "epsilons": [0.1],
    "controls": {"shifted": 1},
    "explain": {"methods": ["gradcam", {"name": "soft", "maps:Soft": {"power": 2}}]},
}
CODE = {"nets": "0", "attacks": "0", "maps": "0"}
VERSIONS = {"lookaway": "0", "torch": "0", "timm": "0"}
ALONE = {"aligner": {}, "without_face": 0, "images": parts(6)}


def samples(changed=None, pictured="a/0"):
    names = [f"{label}/{n}" for label in "ab" for n in range(3)]
    rows = [
        (name, name[0], "test", name == pictured, str(name == changed), ["none", "cascade"], [])
        for name in names
    ]
    return pl.DataFrame(rows, SAMPLE_SCHEMA, orient="row")


def keys(plan, images=None):
    """What is stored: by what it is of, all that its key is made of."""
    identity, found = Identity(plan, samples() if images is None else images), {}
    for cell in identity.cells():
        model = cell.of_model
        if model.head:
            found["head", cell.variant, cell.model] = model.head
        for unit in identity.units(cell.model):
            found["rows", cell.variant, cell.model, cell.shard, *unit] = (
                *(cell.id, identity.unit(model, unit)),
                identity.view(model, unit.method, unit.layer),
            )
    return found


def of(*names):
    """What is of all of these: as itself, by its source, or of a control of it."""
    return lambda key: all(any(name in str(part).split() for part in key) for name in names)


EVERYTHING = of()
MEASURED = of("rows")
CHANGES = {
    "weights": ({"weights": {"one": "1", "two": "0"}}, of("one")),
    "weights of a source": ({"weights": {"one": "0", "two": "1"}}, of("two")),
    "the order of classes": ({"class_order": {"two": {"logits": [1, 0], "others": []}}}, of("two")),
    "classes": ({"classes": ["a", "b", "c"]}, EVERYTHING),
    "what is trained": ({"models": {0: {"train": "fully_connected"}}}, of("one")),
    "epochs": ({"training": {"epochs": 7}}, of("one")),
    "the training's seed": ({"training": {"seeds": [3]}}, of("one")),
    "what is learnt from": ({"training": {"adversarial": {"epsilon": 0.1}}}, of("one")),
    "training images": (
        {
            "variants": {
                "none": {**ALONE, "images": {**parts(6), "train": {"count": 9, "sha256": "1"}}},
                "cascade": ALONE,
            }
        },
        of("one", "none"),
    ),
    "normalisation": ({"models": {1: {"mean": [0.4]}}}, of("two")),
    "arguments": ({"models": {1: {"arguments": {"wide": 2}}}}, of("two")),
    "the batch size": ({"batch_sizes": {"one": 4, "two": 8}}, of("rows", "one")),
    "the smallest last map": ({"last_sizes": {"one": [1, 1], "two": [2, 2]}}, of("rows", "last")),
    "batch norms apart": ({"unfolded": {"one": ["early"]}}, of("rows", "one")),
    "the study's seed": ({"data": {"split": {"seed": 5}}}, EVERYTHING),
    "the device": ({"device": "cuda"}, EVERYTHING),
    "torch": ({"versions": {**VERSIONS, "torch": "1"}}, EVERYTHING),
    "timm": ({"versions": {**VERSIONS, "timm": "1"}}, EVERYTHING),
    "the precision": ({"run": {"precision": "bfloat16"}}, MEASURED),
    "the norm": ({"norm": "l2"}, MEASURED),
    "quantize": ({"quantize": True}, MEASURED),
    "the grid": ({"measure": {"grid": 64}}, MEASURED),
    "the window": ({"measure": {"ssim": "uniform7"}}, MEASURED),
    "the explained class": ({"explain": {"explained_class": ["label"]}}, MEASURED),
    "who has all layers": ({"explain": {"layers_of": "pictured"}}, of("early")),
    "the image size": ({"data": {"image_size": 64}}, EVERYTHING),
    "channels": ({"data": {"channels": 1}}, EVERYTHING),
    "the range of pixels": ({"data": {"range": [0, 9]}}, EVERYTHING),
    "images without a face": ({"data": {"without_face": "drop"}}, EVERYTHING),
    "the aligner": (
        {"variants": {"none": ALONE, "cascade": {**ALONE, "aligner": {"margin": 0.5}}}},
        of("cascade"),
    ),
    "a network's code": ({"own_code": {**CODE, "nets": "1"}}, of("two")),
    "an attack's code": ({"own_code": {**CODE, "attacks": "1"}}, of("mine")),
    "an explainer's code": ({"own_code": {**CODE, "maps": "1"}}, of("soft")),
    "an attack's option": (
        {"attacks": ["fgsm", {"name": "mine", "attacks:Mine": {"steps": 3}}]},
        of("mine"),
    ),
    "an explainer's option": (
        {"explain": {"methods": ["gradcam", {"name": "soft", "maps:Soft": {"power": 3}}]}},
        of("soft"),
    ),
}


def with_change(change):
    """The plan with other fields, or other settings; of models those of some places."""
    fields = {name: value for name, value in change.items() if name not in Study.model_fields}
    settings = {name: value for name, value in change.items() if name in Study.model_fields}
    if "models" in settings:
        settings["models"] = [
            {**model, **settings["models"].get(place, {})}
            for place, model in enumerate(SETTINGS["models"])
        ]
    given = {
        name: {**SETTINGS.get(name, {}), **new} if isinstance(new, dict) else new
        for name, new in settings.items()
    }
    about = {"own_code": CODE, "versions": VERSIONS, "layers": ("early", "last"), **fields}
    return a_plan(("one", "two"), settings={**SETTINGS, **given}, own_size=["mine"], **about)


@cache
def unchanged():
    return keys(with_change({}))


def check(before, after, touched):
    changed = {key for key in before if before[key] != after[key]}
    assert before.keys() == after.keys()
    assert changed == {key for key in before if touched(key)} != set()
    assert {after[key] for key in changed}.isdisjoint(before.values())


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_change_touches_has_other_keys_and_nothing_else_has(name):
    change, touched = CHANGES[name]
    check(unchanged(), keys(with_change(change)), touched)


@pytest.mark.parametrize("change", [{"changed": "b/1"}, {"pictured": "b/1"}])
def test_an_image_changes_the_keys_of_its_cell_alone(change):
    plan = with_change({"shard": 3})
    images = samples().select("label", "image").rows()
    where = Identity(plan, samples()).place("none", images.index(("b", "b/1")))[0]
    there = {where} if "changed" in change else {0, 1}
    check(
        keys(plan), keys(plan, samples(**change)), lambda key: key[0] == "rows" and key[3] in there
    )


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A package of the user's own, that a module of theirs imports."""
    files = {
        "mine_net.py": "def build():\n    from mine_parts.deep import layer\n",
        "mine_parts/__init__.py": "",
        "mine_parts/deep.py": "import torch\nfrom . import other\nlayer = 1\n",
        "mine_parts/other.py": "x = 1\n",
        "mine_beside.py": "y = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("mine_")]:
        del sys.modules[name]


def test_code_that_own_code_imports_is_a_part_of_it(modules):
    before = own_code(["mine_net:build", "torchvision.models:resnet18"])
    (modules / "mine_beside.py").write_text("y = 2\n")
    assert own_code(["mine_net:build", "torchvision.models:resnet18"]) == before
    (modules / "mine_parts" / "other.py").write_text("x = 2\n")
    after = own_code(["mine_net:build"])  # which is not imported yet
    assert after["mine_net"] != before["mine_net"]
    import mine_parts.other  # noqa: F401

    own_code(["mine_net:build"])
    (modules / "mine_parts" / "other.py").write_text("x = 3\n")
    with pytest.raises(InputError, match=r"other\.py' was changed since"):
        own_code(["mine_net:build"])

"""Files made to do harm: nothing in them runs, leaves its folder or ends in a traceback.

``TARGETS`` names what is fed with mutated and invented files; the slow test feeds more and prints
how many.
"""

import io
import json
import os
import pickle
import re
import shutil
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as save_tensors

import lookaway as la
from corpus import encoded, noise
from lookaway.data.folder import FolderSource
from lookaway.data.pixels import FORMATS
from lookaway.errors import LookawayError, ModelError, StoreError, StudyError, WeightsError
from lookaway.export import export
from lookaway.models import zoo
from lookaway.models.checkpoint import read_checkpoint
from lookaway.models.weights import fit_weights, tensors_only
from lookaway.rows import ROW_SCHEMA, SAMPLE_SCHEMA
from lookaway.study.checksum import embed
from lookaway.study.keys import plain
from lookaway.study.lock import NAME, locked
from lookaway.study.plan import open_study
from lookaway.study.settings import Study
from lookaway.study.store import Store
from plans import write_json
from shared_runs import run_bare

WITNESS = "lookaway-was-here"


class Calls:
    """Runs a program when it is unpickled."""

    def __init__(self, witness):
        self.witness = str(witness)

    def __reduce__(self):
        return (os.system, (f"touch '{self.witness}'",))


@pytest.fixture
def witness(tmp_path, monkeypatch):
    """A file that any of the programs here would make; the working folder is empty."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "here" / WITNESS
    assert not list((tmp_path / "here").iterdir()), "something in a file was run"


# Study files


def study_file(faces, extra):
    return f"data: {{folder: {faces}}}\nmodels: [test_resnet]\n{extra}\n"


@pytest.mark.parametrize(
    "extra",
    [
        f"x: !!python/object/apply:os.system ['touch {WITNESS}']",
        f"x: !!python/object/new:subprocess.Popen [['touch', '{WITNESS}']]",
        "x: !!python/name:os.system",
        "x: !!python/module:os",
        "x: !!binary aGVsbG8=",
        "x: !!set {a, b}",
        "x: !!timestamp tomorrow",
        "x: !!int ''",
        "x: !!bool maybe",
        "x: !!float x",
        "x: !local thing",
        "a: &a [x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a]\nc: [*b, *b, *b, *b]",
        "a: &a {a: *a}",
        "<<: {epsilons: [0.1]}\nx: 1",
        f"epsilons: [{'9' * 5000}]",
        f"epsilons: [-0x{'f' * 5000}]",
        f"training: {{epochs: 0x{'f' * 5000}}}",
        f"transfer_from: [0x{'f' * 5000}]",
        "epsilons: [.nan]",
        "epsilons: [1e999999]",
        "training: {learning_rate: 1:00:x}",
        "measure: {grid: 2026-99-99}",
        "1: 2",
        "null: 2",
        "[1, 2]: 3",
        "? {a: b}\n: c",
        "true: 1",
        "x: " + "[" * 5000,
        "x: " + "[" * 300 + "]" * 300,
        "x: " + "{a: " * 300 + "1" + "}" * 300,
        "\x00",
        "\ud7ff\ufffe",
        "%YAML 9.9\n---\nx: 1",
        "---\nx: 1\n---\ny: 2",
        "x: |\n" + " long\n" * 20_000,
    ],
)
def test_a_hostile_study_file_is_a_study_error_and_nothing_in_it_runs(
    faces, tmp_path, witness, extra
):
    path = tmp_path / "study.yaml"
    path.write_text(study_file(faces, extra), encoding="utf-8", errors="surrogatepass")
    with pytest.raises(StudyError) as caught:
        open_study(path)
    assert all(len(problem.message) < 2000 for problem in caught.value.problems)


def test_names_in_a_study_are_text_and_nothing_else(tmp_path, faces, witness):
    names = ["$(touch x)", "`touch x`", "; touch x", "../../x", "/etc/passwd", "a\nb", "<b>", "🙂"]
    models = [{"name": name, "timm": "test_resnet", "pretrained": False} for name in names]
    given_ = {"data": {"folder": str(faces)}, "models": models}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(given_))
    study, *_ = open_study(tmp_path / "study.yaml")
    assert [spec.name for spec in study.models] == names
    for name in names:
        stem = plain(name)
        assert Path(stem).name == stem
        assert stem.isascii()
        assert not set(stem) & set("$`;/\\\n<> ")


# Checkpoints


def pickles(witness):
    """Checkpoints that would run a program: a bare pickle, and torch's own two formats."""
    harm = {"state_dict": {"fc.weight": torch.zeros(2, 2), "x": Calls(witness)}}
    new, old = io.BytesIO(), io.BytesIO()
    torch.save(harm, new)
    torch.save(harm, old, _use_new_zipfile_serialization=False)
    return {
        "bare": pickle.dumps(Calls(witness)),
        "torch": new.getvalue(),
        "legacy": old.getvalue(),
        "function": pickle.dumps(os.system),
    }


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize("kind", ["bare", "torch", "legacy", "function"])
def test_no_pickle_in_a_checkpoint_runs(tmp_path, witness, kind, ending):
    path = tmp_path / f"mine.{ending}"
    path.write_bytes(pickles(witness)[kind])
    with pytest.raises(WeightsError, match=r"mine\."):
        read_checkpoint(path)
    with pytest.raises(WeightsError, match=r"mine\."):
        la.load_classifier("test_resnet", checkpoint=path)


@pytest.mark.parametrize("kind", ["bare", "torch", "legacy", "function"])
def test_no_pickle_in_the_hub_s_cache_runs(tmp_path, witness, monkeypatch, kind):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(pickles(witness)[kind])
    monkeypatch.setattr(zoo, "_cached", lambda *_: path)
    with pytest.raises(WeightsError, match="resnet18"):
        la.load_classifier("resnet18")


def test_a_library_that_loads_pickles_cannot_where_tensors_alone_are_wanted(tmp_path, witness):
    path = tmp_path / "mine.pt"
    path.write_bytes(pickles(witness)["torch"])
    with tensors_only(), pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=False)
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.mark.parametrize("member", ["../../outside", "/tmp/lookaway-outside", "a/../../../outside"])
def test_no_member_of_an_archive_leaves_it(tmp_path, witness, member):
    buffer = io.BytesIO()
    torch.save({"fc.weight": torch.zeros(2, 2)}, buffer)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(member, "harm")
        archive.writestr(f"archive/{member}", "harm")
    path = tmp_path / "mine.pt"
    path.write_bytes(buffer.getvalue())
    before = sorted(tmp_path.rglob("*"))
    try:
        weights = read_checkpoint(path).weights
    except WeightsError:
        weights = {}
    assert set(weights) <= {"fc.weight"}
    assert sorted(tmp_path.rglob("*")) == before
    assert not os.path.lexists("/tmp/lookaway-outside")
    assert not os.path.lexists(tmp_path.parent / "outside")


@pytest.mark.parametrize(
    "loaded",
    [[], {}, {"state_dict": []}, {"a": 1}, torch.zeros(3), {"model": {"a": {"b": 1}}}, "text"],
)
def test_a_checkpoint_without_a_state_dict_is_told(tmp_path, loaded):
    torch.save(loaded, tmp_path / "mine.pt")
    with pytest.raises(WeightsError, match=r"mine\.pt"):
        read_checkpoint(tmp_path / "mine.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_checkpoint_of_numbers_that_are_none_is_refused_by_the_model_s_name(tmp_path, value):
    clf = la.load_classifier("test_resnet", num_classes=3, pretrained=False)
    weights = {name: torch.full_like(x, value) if x.is_floating_point() else x
               for name, x in clf.module.state_dict().items()}  # fmt: skip
    torch.save(weights, tmp_path / "mine.pt")
    broken = la.load_classifier("test_resnet", checkpoint=tmp_path / "mine.pt", input_size=32)
    with pytest.raises(ModelError, match="test_resnet gives logits that are NaN"):
        broken(torch.rand(1, 3, 32, 32))


# Stores


def test_hostile_names_of_classes_images_and_models_stay_in_the_run_s_folder(
    small_study, tmp_path, witness
):
    root = tmp_path / "faces"
    classes = ["$(touch x)", "a b; touch x", "\"'><script>alert(1)"]
    for place, label in enumerate(classes):
        (root / label).mkdir(parents=True)
        for index in range(4):
            name = f"`touch x` <img src=x onerror=alert({index})>.png"
            (root / label / name).write_bytes(encoded(noise(10 * place + index, 40, 32), "PNG"))
    names = ["../../outside", "<img src=x onerror=alert(9)>"]
    study = {
        **small_study,
        "data": {**small_study["data"], "folder": str(root)},
        "models": [
            {**spec, "name": name} for spec, name in zip(small_study["models"], names, strict=True)
        ],
        "transfer_from": names[:1],
        "training": {"epochs": 1},
        "epsilons": [0.1],
    }
    before = set(tmp_path.rglob("*"))
    result = la.run_study(study, tmp_path / "deep" / "er" / "out", progress=False)
    made = set(tmp_path.rglob("*")) - before - {tmp_path / "deep", tmp_path / "deep/er"}
    assert all(path.is_relative_to(result.folder) for path in made)
    export(result.folder, tmp_path / "deep" / "exported")
    made = set(tmp_path.rglob("*")) - before - made - {tmp_path / "deep", tmp_path / "deep/er"}
    assert all(path.is_relative_to(tmp_path / "deep" / "exported") for path in made)
    page = result.report.read_text()
    assert "<img src=x" not in page
    assert "<script>alert" not in page
    for path in result.folder.rglob("*"):
        if path.suffix in (".svg", ".html"):
            assert "<img src=x" not in path.read_text(), path


@pytest.mark.parametrize("sha", ["../../../etc/passwd", "/etc/passwd", "a/b", "", ".", "x\n"])
def test_a_hash_that_is_a_path_is_refused(tmp_path, sha):
    store = Store(tmp_path)
    frame = pl.DataFrame(
        [("a", "b", "test", True, sha, ["none"], [])], schema=SAMPLE_SCHEMA, orient="row"
    )
    store.write_frame("samples.parquet", frame)
    with pytest.raises(StoreError, match="sha256"):
        store.samples()


@pytest.fixture(scope="module")
def small_run(small_study, tmp_path_factory):
    return run_bare(small_study, tmp_path_factory.mktemp("run") / "out")


# What is fed with anything


@dataclass
class Target:
    """Something that reads files, and inputs for it.

    Attributes:
        inputs: a strategy.
        feed: reads one input; only an error of lookaway's own may come of it.
    """

    inputs: st.SearchStrategy
    feed: Any


@st.composite
def mutated(draw, *valid):
    """Bytes of a valid file, cut, overwritten, repeated or with others put in."""
    raw = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 5))):
        place = draw(st.integers(0, max(0, len(raw) - 1)))
        match draw(st.sampled_from(["set", "cut", "insert", "remove", "repeat", "large"])):
            case "set" if raw:
                raw[place] = draw(st.integers(0, 255))
            case "cut":
                del raw[place:]
            case "insert":
                raw[place:place] = draw(st.binary(max_size=20))
            case "remove":
                del raw[place : place + draw(st.integers(1, 40))]
            case "repeat":
                raw[place:place] = raw[place : place + draw(st.integers(1, 200))]
            case "large":
                raw[place : place + 4] = struct.pack("<I", draw(st.integers(0, 2**32 - 1)))
    return bytes(raw)


_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["../../x", "/etc/passwd", "<script>", "none", "own", "one", "two", [], {}]),
)


@st.composite
def other_data(draw, valid):
    """Plain data with some of its parts gone, exchanged or of another kind."""
    value = json.loads(json.dumps(valid))
    for _ in range(draw(st.integers(1, 3))):
        at = value
        for _ in range(draw(st.integers(0, 5))):
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            inner = [key for key in keys if isinstance(at[key], dict | list) and at[key]]
            if not inner:
                break
            at = at[draw(st.sampled_from(inner))]
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            continue
        key = draw(st.sampled_from(keys))
        if draw(st.booleans()):
            del at[key]
        else:
            at[key] = draw(_LEAVES)
    return value


_WORDS = st.sampled_from(
    [*Study.model_fields, "folder", "name", "timm", "test_resnet", "sample:lfw_subset", "fgsm"]
)
_TAGS = st.sampled_from(
    ["", "", "", "!!int ", "!!float ", "!!bool ", "!!binary ", "!!set ", "!!timestamp ", "!!null ",
     "!!python/name:os.system ", "!x ", "&a ", "*a "]
)  # fmt: skip
_SCALARS = st.one_of(
    _WORDS,
    st.integers().map(str),
    st.integers(4000, 5000).map(lambda count: "0x" + "f" * count),
    st.floats().map(repr),
    st.sampled_from(
        ["~", "yes", "2026-01-01", "1:2:3", "0b1", "0o7", ".inf", "<<", "''", "|", "-"]
    ),
    st.text("ab:{}[]#&*!|>'\"%@`,?- \n\t", max_size=8),
)
_TAGGED = st.builds("{}{}".format, _TAGS, _SCALARS)
_FLOW = st.recursive(
    _TAGGED,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda parts: f"[{', '.join(parts)}]"),
        st.lists(st.tuples(st.one_of(_WORDS, _TAGGED), inner), max_size=4).map(
            lambda parts: "{" + ", ".join(f"{key}: {value}" for key, value in parts) + "}"
        ),
    ),
    max_leaves=12,
)
_STUDY_TEXT = st.lists(st.tuples(_WORDS, _FLOW), max_size=6).map(
    lambda parts: "".join(f"{key}: {value}\n" for key, value in parts)
)


def resealed(raw, name):
    """A file with the checksum that fits what is in it now."""
    found = re.search(rb"lookaway:([0-9a-f]{64})", raw)
    return embed(raw, found[0].decode(), name) if found else raw


def targets(run, folder):
    """Each reader, with what it is fed.

    Args:
        run: a finished run, which is not changed.
        folder: to write into.
    """
    copy = shutil.copytree(run.folder, folder / "run")
    store = Store(copy)
    plan, manifest = (model.model_dump(mode="json") for model in (run.plan, run.manifest))
    key = store.identity.cell("none", "one", 0)
    head = next((copy / "heads").glob("*.json"))
    files = {
        name: (copy / name).read_bytes()
        for name in ("plan.json", "manifest.json", "samples.parquet", f"rows/{key.id}.parquet")
    }
    signs = (copy / "signs" / f"{key.id}.safetensors").read_bytes()
    study = (copy / "study.yaml").read_text()
    images = {kind: encoded(noise(1), kind) for kind in FORMATS if kind != "DIB"}
    weights = {"fc.weight": torch.ones(2, 2)}
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    (folder / "class" / "a").mkdir(parents=True)
    (folder / "locked").mkdir()

    def feed_study(raw):
        (folder / "study.yaml").write_bytes(raw)
        found, *_ = open_study(folder / "study.yaml")
        assert isinstance(found, Study)

    def feed_file(name, read):
        def feed(raw):
            (copy / name).write_bytes(raw)
            try:
                read()
            finally:
                (copy / name).write_bytes(files.get(name, b""))

        return feed

    def feed_json(name, read):
        kept = (copy / name).read_bytes()

        def feed(value):
            write_json(store, name, value)
            try:
                read()
            finally:
                (copy / name).write_bytes(kept)

        return feed

    def feed_resealed(read):
        """Damage under a right seal, as one who means harm would write it."""

        def feed(raw):
            (folder / "garbage").write_bytes(resealed(raw, "garbage"))
            read(folder / "garbage")

        return feed

    def feed_images(raws):
        for index, raw in enumerate(raws):
            (folder / "class" / "a" / f"{index}.png").write_bytes(raw)
        source = FolderSource(folder / "class")
        scan = source.scan()
        assert len(scan.records) + len(scan.set_aside) == len(list((folder / "class/a").iterdir()))
        assert all(scan.set_aside.values())
        for record in scan.records:
            assert source.open(record).mode == "RGB"

    def feed_weights(ending):
        def feed(raw):
            (folder / f"x.{ending}").write_bytes(raw)
            found = read_checkpoint(folder / f"x.{ending}").weights
            fit_weights(torch.nn.ModuleDict({"fc": torch.nn.Linear(2, 2, bias=False)}), found, "x")

        return feed

    with locked(folder / "locked"):
        lock = (folder / "locked" / NAME).read_bytes()

    def feed_lock(raw):
        (folder / "locked" / NAME).write_bytes(raw)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lookaway.study.lock._UNREADABLE", 0)  # nothing is waited for
            with locked(folder / "locked"):
                pass

    def whole_run():
        result = la.open_result(copy)
        assert result.rows().columns == list(ROW_SCHEMA)
        result.samples()

    return {
        "study file, invented": Target(_STUDY_TEXT.map(str.encode), feed_study),
        "study file, damaged": Target(mutated(study.encode()), feed_study),
        "plan, damaged": Target(mutated(files["plan.json"]), feed_file("plan.json", whole_run)),
        "plan, resealed": Target(other_data(plan), feed_json("plan.json", whole_run)),
        "plan, resumed": Target(
            mutated(files["plan.json"]), feed_file("plan.json", store.known_plan)
        ),
        "manifest, damaged": Target(
            mutated(files["manifest.json"]), feed_file("manifest.json", whole_run)
        ),
        "manifest, resealed": Target(other_data(manifest), feed_json("manifest.json", whole_run)),
        "heads, resealed": Target(
            other_data(run.store.trained()["one"].model_dump(mode="json")),
            feed_json(f"heads/{head.name}", store.trained),
        ),
        "samples, damaged": Target(
            mutated(files["samples.parquet"]), feed_file("samples.parquet", store.samples)
        ),
        "rows, damaged": Target(
            mutated(files[f"rows/{key.id}.parquet"]),
            feed_file(
                f"rows/{key.id}.parquet",
                lambda: store.stored("rows", key, "") and store.frame("rows"),
            ),
        ),
        "rows, resealed": Target(
            mutated(files[f"rows/{key.id}.parquet"]), feed_resealed(store.read_frame)
        ),
        "arrays, resealed": Target(mutated(signs), feed_resealed(store.read_arrays)),
        "arrays' notes, resealed": Target(mutated(signs), feed_resealed(store.read_metadata)),
        "image scan": Target(
            st.lists(st.one_of(mutated(*images.values()), st.binary(max_size=99)), max_size=4),
            feed_images,
        ),
        "checkpoint, safetensors": Target(
            mutated(save_tensors(weights)), feed_weights("safetensors")
        ),
        "checkpoint, torch": Target(
            mutated(buffer.getvalue(), pickle.dumps(Calls(folder / WITNESS))), feed_weights("pt")
        ),
        "lock": Target(st.one_of(st.binary(max_size=60), mutated(lock)), feed_lock),
    }


NAMES = [
    "study file, invented",
    "study file, damaged",
    "plan, damaged",
    "plan, resealed",
    "plan, resumed",
    "manifest, damaged",
    "manifest, resealed",
    "heads, resealed",
    "samples, damaged",
    "rows, damaged",
    "rows, resealed",
    "arrays, resealed",
    "arrays' notes, resealed",
    "image scan",
    "checkpoint, safetensors",
    "checkpoint, torch",
    "lock",
]


@pytest.fixture(scope="module")
def readers(small_run, tmp_path_factory):
    found = targets(small_run, tmp_path_factory.mktemp("hostile"))
    assert list(found) == NAMES
    return found


def fed(target, count):
    """Feed a reader so many inputs; how many were refused, of how many."""
    tried, refused = 0, 0

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs)
    def feed(value):
        nonlocal tried, refused
        tried += 1
        try:
            target.feed(value)
        except LookawayError as error:
            refused += 1
            assert str(error)

    feed()
    return refused, tried


@pytest.mark.parametrize("name", NAMES)
def test_whatever_a_file_holds_only_errors_of_our_own_come_of_it(readers, name, witness):
    refused, tried = fed(readers[name], 30)
    assert tried >= 30
    # Images are set aside, and what is made again or has a copy is no reason to stop.
    fine = ("image scan", "plan, resumed", "rows, damaged", "arrays' notes, resealed")
    assert refused > 0 or name in fine


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_same_with_many_more_inputs_which_are_counted(readers, witness, capsys):
    counts = {name: fed(target, 2000) for name, target in readers.items()}
    with capsys.disabled():
        for name, (refused, tried) in counts.items():
            print(f"\n{name}: {tried} inputs tried, {refused} refused", end="")  # noqa: T201
        print(f"\nin all: {sum(tried for _, tried in counts.values())} inputs tried")  # noqa: T201

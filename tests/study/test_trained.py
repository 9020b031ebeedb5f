"""What a study trains is stored once; an interrupted training goes on from its last epoch."""

import pytest
from polars.testing import assert_frame_equal

from lookaway.models import training


class LostMachineError(Exception):
    """Stands for a lost machine."""


def test_a_study_interrupted_while_training_ends_with_the_same_weights_and_rows(
    small_study, run_quickly, tmp_path, monkeypatch
):
    whole = run_quickly(small_study, tmp_path / "whole")
    monkeypatch.setattr(training, "KEEP_EVERY", 0.0)
    monkeypatch.setattr(training, "KEEP_SHARE", 0)
    epoch, done = training.one_pass, []

    def fail_in_the_fourth(stage, indices, size, optimizer):
        done.append(optimizer is not None)
        if sum(done) == 4:
            raise LostMachineError
        return epoch(stage, indices, size, optimizer)

    monkeypatch.setattr(training, "one_pass", fail_in_the_fourth)
    with pytest.raises(LostMachineError):
        run_quickly(small_study, tmp_path / "stopped")
    assert len(list((tmp_path / "stopped/training").iterdir())) == 1
    resumed = run_quickly(small_study, tmp_path / "stopped")
    # Three epochs of the first model were done; two are left, and five of the second.
    assert sum(done) == 4 + 2 + 5
    assert not (tmp_path / "stopped/training").exists()
    for name in ("one", "two"):
        heads = [
            (result.folder / f"heads/{result.store.identity.head('none', name)}.safetensors")
            for result in (whole, resumed)
        ]
        assert heads[0].read_bytes() == heads[1].read_bytes()
    assert len(list((tmp_path / "stopped/heads").glob("*.safetensors"))) == 2
    assert_frame_equal(whole.rows(), resumed.rows(), check_exact=True)

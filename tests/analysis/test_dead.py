"""MOD is the share of dead pairs and what they score, and the MOD of living ones."""

import numpy as np
import pytest

from lookaway.analysis.dead import dead
from lookaway.analysis.summary import mod
from rows import labels_of, line, measured, without_nan

LABELS = labels_of(2, 10)


def test_the_parts_add_up_to_mod_exactly():
    random = np.random.default_rng(0)
    clean, attacked = random.random((2, 20)) < [[0.2], [0.4]]
    assert (clean & attacked).any()
    nissim = np.where(clean & attacked, 0.0, np.where(clean ^ attacked, 0.48, random.random(20)))
    rows = measured("m", nissim, LABELS, clean_dead=clean, attacked_dead=attacked)
    frame = dead(rows)
    found = {row["measure"]: row["value"] for row in frame.iter_rows(named=True)}
    assert found["one dead"] == (clean ^ attacked).mean()
    assert found["both dead"] == (clean & attacked).mean()
    assert found["dead"] == pytest.approx(found["one dead"] + found["both dead"])
    living = (1 - found["dead"]) * found["MOD, living"]
    total = found["one dead"] * found["MOD, one dead"] + living
    assert total == pytest.approx(line(mod(rows), pairs="all")["mod"], rel=1e-15)
    assert found["MOD, living"] == line(mod(rows), pairs="alive")["mod"]
    assert line(frame, measure="MOD, living")["n"] == (~(clean | attacked)).sum()


@pytest.mark.parametrize(
    ("attacked", "measure", "reason"),
    [
        (False, "MOD, one dead", "no pair with one dead map"),
        (True, "MOD, living", "no pair of living maps"),
    ],
)
def test_what_no_pair_has_is_null_and_says_why(attacked, measure, reason):
    frame = dead(measured("m", np.full(20, 0.5), LABELS, attacked_dead=attacked))
    got = line(frame, measure=measure)
    assert (got["n"], got["value"], got["low"], got["reason"]) == (0, None, None, reason)
    assert line(frame, measure="dead")["value"] == float(attacked)
    assert without_nan(frame)

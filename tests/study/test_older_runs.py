"""A run that was stored before there were controls of the attack's own shape opens as it is."""

import json

from lookaway.analysis.frames import Frames
from lookaway.report.conclusions import conclusions
from lookaway.report.headline import headline
from lookaway.report.opening import opening
from lookaway.report.warnings import warnings
from lookaway.rows import SINCE
from lookaway.study.fields import STORED
from lookaway.study.json_files import Plan
from stored import write_run


def test_it_claims_no_more_than_random_signs_allow(tmp_path):
    store = write_run(tmp_path / "run", 45, models=("one", "two"))
    for path in store.listed("rows", "*.parquet"):
        frame, about = store.read_frame(path), store.read_metadata(path)
        kept = {name: about[name] for name in ("weights", "units")}
        store.write_frame(f"rows/{path.name}", frame.drop(SINCE), kept)
    plan = store.read_plan()
    about = plan.model_dump(mode="json")
    del about["settings"]["controls"]
    store.write_model("plan.json", Plan.model_validate_json(json.dumps(about), context=STORED))
    frames = Frames(store)
    assert frames.settings.controls.shifted == 0
    assert frames.rows["reached_rms"].null_count() == frames.rows.height
    kept = frames.to_keep()
    assert kept["aimed"].is_empty()
    assert kept["reached"].is_empty()
    said = [*opening(frames).lead, *(f"{e.opening} {e.closing}" for e in conclusions(frames))]
    text = " ".join([*said, *headline(frames).lines(), *warnings(frames)])
    assert "random signs" in text
    for word in ("aimed", "in other places", "less shifted"):
        assert word not in text

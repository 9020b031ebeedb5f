"""Where a study works: what may be asked for, the batch size, and what happens without memory."""

import io
import pickle
from types import SimpleNamespace

import pytest
import torch

from growth import results_in
from lookaway.errors import EngineError, ModelError, OutOfMemoryError, StudyError
from lookaway.study import machine, on_devices, worker
from lookaway.study.machine import Machine

GIB = 2**30


@pytest.fixture
def with_cards(monkeypatch):
    """A machine with CUDA devices of these names and sizes, GiB."""

    def there(*cards):
        about = [SimpleNamespace(name=name, total_memory=size * GIB) for name, size in cards]
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(cards))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(cards))
        monkeypatch.setattr(
            torch.cuda,
            "get_device_properties",
            lambda device: about[int(str(device).partition(":")[2] or 0)],
        )

    return there


def test_a_batch_is_a_rule_of_the_network_the_kind_of_device_and_its_memory():
    card = Machine("cuda", ("cuda",), 80 * GIB)
    sizes = [card.batch_size(mib * 2**20, most=512) for mib in (1, 40, 80, 160, 1_000, 20_000)]
    assert sizes == [256, 256, 128, 64, 8, 1]
    assert card.batch_size(2**20, most=64) == 64
    processor = Machine("cpu", ("cpu",), 16 * GIB)
    assert [processor.batch_size(mib * 2**20, 64) for mib in (1, 128, 256, 900)] == [8, 8, 4, 1]


def test_a_device_is_found_by_its_name_and_all_are_of_one_kind(with_cards):
    with_cards(("H100", 80), ("H100", 80))
    assert Machine.found("auto") == Machine.found("cuda") == Machine("cuda", ("cuda",), 80 * GIB)
    assert Machine.found("cuda:1").devices == ("cuda:1",)
    assert Machine.found("all") == Machine("cuda", ("cuda:0", "cuda:1"), 80 * GIB)
    assert Machine.found("cpu").device == "cpu"
    with pytest.raises(ModelError, match="possible: auto, cpu, cuda:0, cuda:1"):
        Machine.found("cuda:2")
    with_cards(("H100", 80), ("T4", 16))
    with pytest.raises(ModelError, match=r"several kinds .*cuda:1 T4, 16 GiB.*name one"):
        Machine.found("all")
    with_cards()
    assert Machine.found("auto").device == "cpu"


def test_a_processor_works_in_as_many_processes_as_threads_and_memory_allow(
    with_cards, monkeypatch
):
    with_cards()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    monkeypatch.setattr(machine, "_memory", lambda device: 64 * GIB)
    alone = Machine.found("cpu")
    assert alone.devices == ("cpu",)
    assert alone.in_processes(199) == alone
    assert (
        alone.in_processes(200) == Machine.found("all") == Machine("cpu", ("cpu",) * 16, 16 * GIB)
    )
    few = Machine("cpu", ("cpu",), 10 * GIB).in_processes()
    assert (len(few.devices), few.memory) == (2, 10 * GIB)
    card = Machine("cuda", ("cuda",), 80 * GIB)
    assert card.in_processes() == card


@pytest.fixture
def small_memory(monkeypatch):
    """A device that has room for so many images at once."""

    def room(images):
        ready = worker.ready_model

        def watched(*given):
            clf = ready(*given)

            def full(_module, inputs):
                if len(inputs[0]) > images:
                    raise torch.OutOfMemoryError("CUDA out of memory")

            clf.module.register_forward_pre_hook(full)
            return clf

        monkeypatch.setattr(worker, "ready_model", watched)

    return room


def test_without_memory_the_batch_is_halved_which_is_told_and_kept(
    quick_study, run_quickly, small_memory, tmp_path, capsys, monkeypatch
):
    few = {"epsilons": [0.1], "explain": {"explained_class": ["own"], "pictured": 0}}
    study = {**quick_study, **few, "models": quick_study["models"][:1], "run": {"batch_size": 2}}
    alone = run_quickly({**study, "run": {"batch_size": 1}}, tmp_path / "one", shard=16)
    small_memory(1)
    result = run_quickly(study, tmp_path / "out", shard=16, progress=True)
    told = capsys.readouterr().err
    assert "memory does not hold 2 images of 'one' at once: from now on it works on 1" in told
    assert result.plan.batch_sizes == alone.plan.batch_sizes == {"one": 1}
    assert results_in(result.folder) == results_in(alone.folder)
    monkeypatch.setattr(worker, "do_cell", None)
    again = run_quickly(study, tmp_path / "out", shard=16)
    assert again.plan.batch_sizes == {"one": 1}


def test_where_no_image_fits_the_study_says_so(quick_study, run_quickly, small_memory, tmp_path):
    small_memory(0)
    study = {**quick_study, "run": {"batch_size": 1}}
    with pytest.raises(OutOfMemoryError, match="too small for 'one', even one image"):
        run_quickly(study, tmp_path / "out")


def test_tf32_is_refused_without_a_gpu(quick_study, run_quickly, tmp_path):
    study = {**quick_study, "run": {"device": "cpu", "precision": "tf32"}}
    study = {**study, "models": quick_study["models"][:1], "transfer_from": []}
    with pytest.raises(StudyError, match="tf32 is TensorFloat-32, which is CUDA's"):
        run_quickly(study, tmp_path / "out")


def test_a_process_tells_of_images_as_they_are_done_before_its_answer():
    answers, told = io.BytesIO(), []
    for each in (2, 1, ["found"]):
        pickle.dump(each, answers)
    answers.seek(0)
    pipes = {"_input": io.BytesIO(), "_output": answers}
    hand = SimpleNamespace(_model=None, _given=None, _following=None, **pipes)
    job = SimpleNamespace(model="one")
    assert on_devices._Hand.do(hand, job, {}, lambda: None, told.append) == ["found"]
    assert told == [2, 1]


@pytest.mark.program
@pytest.mark.timeout(900)
def test_several_processes_give_the_files_of_one_which_goes_on_where_one_was_lost(
    quick_study, looked, run_quickly, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(machine, "_MANY", 1)
    do, done = on_devices._Hand.do, []

    def lost(hand, *given):
        done.append(hand)
        if len(done) == 4:  # the last cell, which needs the first's perturbations
            hand.end()
        return do(hand, *given)

    monkeypatch.setattr(on_devices._Hand, "do", lost)
    with pytest.raises(EngineError, match=r"the process of cpu ended with exit status -9 at cell"):
        run_quickly({**quick_study, "run": {"device": "auto"}}, tmp_path / "out")
    assert len({id(hand) for hand in done}) == 2
    assert all(hand._process.poll() is not None for hand in done)
    before, whole = results_in(tmp_path / "out"), results_in(looked.folder)
    assert sum(name.startswith("rows/") for name in before) >= 2
    assert before.items() <= whole.items()
    result = run_quickly({**quick_study, "run": {"device": "cpu"}}, tmp_path / "out")
    assert results_in(result.folder) == whole

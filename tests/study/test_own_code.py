"""Attacks and explainers of a user's own: by name from a study, where its code is trusted."""

import importlib
import shutil
import sys
import zlib

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import lookaway as la
from lookaway.analysis.aimed import pooled
from lookaway.errors import InputError, StudyError
from lookaway.export import export
from lookaway.kernel import Key
from lookaway.report.explorer import explorer
from lookaway.report.pictured import PicturedImages
from lookaway.study import worker
from lookaway.study.plan import parse_study

MODULE = '''
import torch

from lookaway.attacks.base import Attack
from lookaway.explainers.cam import CAM


class Steps(Attack):
    """Several steps along the sign of the gradient: no sign attack, another one for each ε."""

    name = "steps"

    def __init__(self, steps=2):
        self.steps = steps

    def perturb(self, clf, images, labels, epsilons):
        found = []
        for epsilon in epsilons:
            changed = images.clone()
            for _ in range(self.steps):
                pixels = changed.detach().requires_grad_()
                loss = clf.outputs.loss(clf(pixels), labels)
                (gradient,) = torch.autograd.grad(loss, pixels)
                changed = pixels.detach() + 0.7 * epsilon * gradient / gradient.abs().max()
                changed = torch.minimum(torch.maximum(changed, images - epsilon), images + epsilon)
                changed = changed.clamp(0, 1)
            found.append(changed)
        return torch.stack(found)


class HiRes(CAM):
    """Gradient times activation, position by position."""

    name = "hires"

    def weights(self, activations, gradients):
        return gradients
'''


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    path = tmp_path / "code" / "my_nets.py"
    path.write_text(MODULE)
    monkeypatch.syspath_prepend(path.parent)
    importlib.invalidate_caches()
    yield path
    sys.modules.pop("my_nets", None)


def load_anew(path):
    """Forget a module, as a new process does; its byte code goes by the file's size and second."""
    shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)
    sys.modules.pop(path.stem, None)
    importlib.invalidate_caches()


@pytest.fixture
def own_study(quick_study):
    return {
        **quick_study,
        "attacks": ["fgsm", {"name": "three steps", "my_nets:Steps": {"steps": 3}}],
        "explain": {**quick_study["explain"], "methods": ["my_nets:HiRes"], "pictured": 2},
    }


def test_a_study_attacks_and_explains_by_code_of_the_user_s_own(
    own_study, own_module, quick_study, run_quickly, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    result = run_quickly(own_study, out, trust_code=True)
    assert_frame_equal(la.open_result(out).rows(), result.rows())
    rows = result.rows()
    assert rows["attack"].unique().sort().to_list() == [
        *("fgsm", "noise", "own-size noise of three steps"),
        *("own-size noise of three steps from one", "three steps"),
    ]
    assert rows["method"].unique().to_list() == ["hires"]
    paired = result.excess().select("attack", "model", "source", "control").unique()
    assert set(paired.filter(attack="fgsm")["control"]) == {"noise"}
    steps = paired.filter(attack="three steps").sort("model", "source")
    own = "own-size noise of three steps"
    assert steps["control"].to_list() == [own, f"{own} from one", own]
    strong = rows.filter(attack="three steps", epsilon=0.1)
    assert (strong["linf"] <= 0.1 + 1e-6).all()
    assert (strong["linf"] > 0.05).all()
    assert strong["source"].unique().sort().to_list() == ["one", "two"]

    # A pictured image is attacked in the page, and exported, as it was measured.
    found = PicturedImages(result.frames)
    data = explorer(result.frames, found)
    assert [one["attack"] for one in data.about["perturbations"]][2:4] == ["three steps"] * 2
    image, folders = found.images[0], export(out, tmp_path / "files", kind="npy")
    for epsilon in (0.02, 0.1):
        attacked = found.attacked(image, "three steps", "one", epsilon)
        change = np.abs(attacked - image.rgb).max()
        linf = rows.filter(image=image.image, attack="three steps", source="one", epsilon=epsilon)
        assert change == pytest.approx(linf["linf"][0], abs=1e-6)
        (folder,) = (
            f
            for f in folders
            if f"three-steps-from-one/epsilon-{epsilon:g}" in str(f).replace(" ", "-")
        )
        exported = np.load(folder / f"{image.image}.npy").transpose(1, 2, 0)
        np.testing.assert_allclose(exported, attacked, atol=1e-6)

    # It goes on where it stopped; other code's results stand beside.
    next((out / "rows").iterdir()).unlink()
    assert_frame_equal(run_quickly(own_study, out, trust_code=True).rows(), rows)
    own_module.write_text(MODULE.replace("0.7", "0.6"))
    with pytest.raises(InputError, match=r"my_nets\.py' was changed since .* old code would run"):
        run_quickly(own_study, out, trust_code=True)
    load_anew(own_module)
    beside = run_quickly(own_study, out, trust_code=True)
    changed = pl.col("attack").str.contains("three steps")
    assert beside.rows().filter(~changed).equals(rows.filter(~changed))
    assert not beside.rows().filter(changed).equals(rows.filter(changed))
    old, new = result.store.identity, beside.store.identity
    assert old.attack("fgsm") == new.attack("fgsm")
    assert old.attack("three steps") != new.attack("three steps")
    key, last = old.model("none", "one"), old.plan.last_layers["one"]
    assert key == new.model("none", "one")
    assert old.view(key, "hires", last) != new.view(key, "hires", last)
    own_module.write_text(MODULE)
    load_anew(own_module)
    monkeypatch.setattr(worker, "do_cell", None)
    assert_frame_equal(run_quickly(own_study, out, trust_code=True).rows(), rows)


def test_code_that_is_not_trusted_is_named_and_not_imported(own_study, own_module, tmp_path):
    own_module.write_text("raise SystemExit('it ran')")
    with pytest.raises(StudyError, match=r"attacks\[1\].*--trust-code") as refused:
        la.run_study(own_study, tmp_path / "out", progress=False)
    assert "explain.methods[0]: 'my_nets:HiRes' is code" in str(refused.value)
    assert "my_nets" not in sys.modules


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        ("my_nets:Stps", "cannot be imported.*Stps"),
        ("my_net:Steps", "cannot be imported.*my_net"),
        ("my_nets:HiRes", r"makes a HiRes, which is no lookaway\.attacks\.base\.Attack"),
        ({"my_nets:Steps": {"stepz": 3}}, r"does not take \{'stepz': 3\}"),
        ({"my_nets:Steps": {}, "fgsm": {}}, "a mapping of one name to its arguments"),
        ({"name": "noise", "fgsm": {}}, "noise is the control"),
        (3, "an attack is a name.*got 3"),
    ],
)
def test_what_is_no_attack_is_told_before_any_work(own_study, own_module, tmp_path, attack, told):
    study = {**own_study, "attacks": ["fgsm", attack]}
    with pytest.raises(StudyError, match=f"(?s)attacks.*{told}"):
        la.run_study(study, tmp_path / "out", trust_code=True, progress=False)


def test_arguments_reach_an_attack_in_memory_too(own_module):
    from my_nets import HiRes, Steps

    clf = la.load_classifier("test_resnet", num_classes=3, pretrained=False, input_size=64)
    images, labels = np.random.default_rng(0).random((3, 3, 64, 64)), [0, 1, 2]
    import torch

    found = la.measure(
        clf,
        torch.from_numpy(images).float(),
        torch.tensor(labels),
        attacks=[Steps(steps=1), la.FGSM()],
        explainers=[HiRes(), la.GradCAM()],
        epsilons=[0.05],
        grid=32,
        keep_maps=True,
    )
    assert found.perturbations["steps"].codes.shape == (3, 1, 3, 64, 64)
    methods = found.mod().select("attack", "method").unique().sort("attack", "method").rows()
    assert methods == [
        (a, m)
        for a in sorted(pooled(found.rows())["attack"].unique())
        for m in ("gradcam", "hires")
    ]
    assert {key.method for key in found.maps if isinstance(key, Key)} == {"gradcam", "hires"}
    assert isinstance(found.rows(), pl.DataFrame)


def test_attacks_of_two_norms_and_levels_that_are_none_of_theirs_are_refused(quick_study):
    long = {"name": "long", "pgd": {"norm": "l2"}}
    for changes, told in (
        (
            {"attacks": ["fgsm", long]},
            r"attacks: attacks have different norms \(fgsm linf, long l2\)",
        ),
        ({"attacks": ["fgsm"], "epsilons": [0.5, 2.0]}, r"outside \(0, 1\]: 2"),
        ({"attacks": [long], "epsilons": [0.5, 0.0]}, "no lengths of a change: 0"),
    ):
        with pytest.raises(StudyError, match=told):
            parse_study({**quick_study, **changes})


def test_a_study_in_l2_changes_images_by_epsilon_s_length_and_draws_them_as_measured(
    quick_study, run_quickly, tmp_path
):
    study = {
        **quick_study,
        "models": quick_study["models"][:1],
        "attacks": [{"name": "fast", "fgsm": {"norm": "l2"}}],
        "epsilons": [0.5, 1.0, 2.0, 40.0],  # as many as signs make a byte
        "explain": {"explained_class": ["clean"], "pictured": 1},
    }
    result = run_quickly(study, tmp_path / "out")
    found = PicturedImages(result.frames)
    data, (image,) = explorer(result.frames, found), found.images
    for number, (attack, source) in enumerate([("fast", "one"), ("noise", None)]):
        about = data.about["changes"][number][0]
        assert about["signs"] == (attack == "noise")
        raw = np.frombuffer(zlib.decompress(data.blobs[f"codes-{number}-0"]), np.uint8)
        if about["signs"]:
            codes = 127 * (((raw[:, None] >> np.arange(0, 8, 2)) & 3).astype(float) - 1)
        else:
            codes = raw.view(np.int8)
        change = codes.reshape(64, 64, 3) * about["scale"][0] / 127
        for epsilon in result.frames.epsilons:
            attacked = found.attacked(image, attack, source, epsilon)
            np.testing.assert_allclose(np.clip(image.rgb + epsilon * change, 0, 1), attacked)
            row = result.rows().filter(image=image.image, attack=attack, epsilon=epsilon)
            length = np.sqrt(image.rgb.size * 10 ** (-row["psnr"][0] / 10))
            assert length == pytest.approx(np.linalg.norm(attacked - image.rgb), rel=1e-5)
            assert length <= epsilon * (1 + 1e-6)
            assert epsilon > 2 or length > 0.95 * epsilon  # a little is clipped


@pytest.mark.parametrize(("options", "expected"), [({"steps": 1}, 3), ({"steps": 1, "seed": 7}, 7)])
def test_what_is_random_in_an_attack_follows_from_the_study_s_seed(
    quick_study, run_quickly, tmp_path, monkeypatch, options, expected
):
    seeds, perturb = set(), la.PGD.perturb
    monkeypatch.setattr(
        la.PGD, "perturb", lambda self, *given: (seeds.add(self.seed), perturb(self, *given))[1]
    )
    split = {**quick_study["data"]["split"], "seed": 3}
    study = {
        **quick_study,
        "data": {**quick_study["data"], "split": split},
        "models": quick_study["models"][:1],
        "attacks": [{"name": "short", "pgd": options}],
        "epsilons": [0.1],
    }
    found = run_quickly(study, tmp_path / "out").rows()
    assert seeds == {expected}
    assert set(found["attack"]) == {"short", "noise", "own-size noise of short"}


def test_an_attack_of_a_library_is_named_in_a_study_and_needs_no_trust(
    quick_study, run_quickly, tmp_path
):
    theirs = {"name": "theirs", "foolbox": "LinfPGD", "with": {"steps": 1, "rel_stepsize": 1.0}}
    theirs["with"]["random_start"] = False  # which is FGSM
    study = {
        **quick_study,
        "models": quick_study["models"][:1],
        "attacks": ["fgsm", theirs],
        "epsilons": [0.1],
    }
    result = run_quickly(study, tmp_path / "out")
    assert result.plan.settings.model_dump(mode="json")["attacks"] == ["fgsm", theirs]
    assert "foolbox" in result.plan.versions
    ours, others = (
        result.rows().filter(attack=name).drop("attack").sort("image", "explained_class")
        for name in ("fgsm", "theirs")
    )
    assert_frame_equal(ours, others, abs_tol=5e-3)  # codes of clipped pixels are rounded


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        ({"foolbox": "LinfPGD", "with": {"stepz": 3}}, "stepz: unknown; possible: .*steps"),
        ({"foolbox": "LinfPDG"}, "foolbox has no attack 'LinfPDG'; Nearest: LinfPGD"),
        ({"foolbox": "LinfPGD", "wiht": {}}, "the name of its class, with arguments, such as"),
        ({"name": "noise", "foolbox": "LinfPGD"}, "noise is the control"),
        ({"torchattacks": "DIFGSM"}, "torchattacks is not installed: pip install --no-deps"),
    ],
)
def test_what_a_library_does_not_have_is_told_before_any_work(
    quick_study, monkeypatch, attack, told
):
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    with pytest.raises(StudyError, match=rf"(?s)attacks\[0\].*{told}"):
        parse_study({**quick_study, "attacks": [attack]})


def test_an_option_of_a_wrong_type_is_told_before_any_work(quick_study, run_quickly, tmp_path):
    theirs = {"foolbox": "LinfPGD", "with": {"steps": "ten"}}
    study = {**quick_study, "models": quick_study["models"][:1], "attacks": ["fgsm", theirs]}
    with pytest.raises(StudyError, match=r"attacks\[1\] \(linfpgd\).*TypeError.*str.*options"):
        run_quickly(study, tmp_path / "out")
    assert not (tmp_path / "out" / "plan.json").exists()

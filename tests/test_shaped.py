"""Controls with an attack's own shape: what is made of a perturbation, and what is measured."""

import numpy as np
import polars as pl
import pytest
import torch

import lookaway as la
from lookaway.controls import (
    OTHER_CLASS,
    RESEEDED,
    SAME_CLASS,
    SPECTRUM,
    Control,
    Counts,
    is_taken,
    read,
)
from lookaway.errors import InputError
from lookaway.hashing import random_shift
from lookaway.perturbation import Perturbation
from lookaway.shaped import make_control, phase_randomised, transplants, with_own_values
from oracles import enliven, pixels


@pytest.fixture(scope="module")
def images():
    return pixels(6, 3, 48, 64).numpy()


@pytest.fixture(scope="module")
def perturbation():
    """Of an attack that is no sign attack, with an L2 scale."""
    codes = np.random.default_rng(0).integers(-127, 128, (6, 2, 3, 48, 64)).astype(np.int8)
    return Perturbation(codes, np.linspace(0.1, 0.2, 12, dtype=np.float32).reshape(6, 2))


def test_shifted_codes_are_numpy_s_roll_in_both_kinds_of_array(perturbation):
    ways = [(7 * place, 3 + place) for place in range(6)]
    expected = np.stack(
        [
            np.roll(np.roll(c, d, -2), r, -1)
            for c, (d, r) in zip(perturbation.codes, ways, strict=True)
        ]
    )
    found = perturbation.shifted(ways)
    np.testing.assert_array_equal(found.codes, expected)
    np.testing.assert_array_equal(perturbation.on("cpu").shifted(ways).codes.numpy(), expected)
    assert found.scale is perturbation.scale


def test_a_shift_is_a_sixth_of_the_side_at_least_and_follows_from_content_seed_and_number(images):
    ways = np.array([random_shift(0, number, images[0]) for number in range(400)])
    for axis, side in enumerate((48, 64)):
        least, most = -(-side // 6), 5 * side // 6
        assert set(ways[:, axis]) == set(range(least, most + 1))  # every way comes
    assert random_shift(0, 1, images[0].copy()) == random_shift(0, 1, images[0])
    others = [random_shift(1, 1, images[0]), random_shift(0, 2, images[0]), tuple(ways[3])]
    assert random_shift(0, 1, images[0]) not in [*others, random_shift(0, 1, images[1])]
    assert random_shift(0, 1, np.zeros((3, 1, 2), np.float32))[1] == 1


def test_random_phases_keep_every_amplitude_and_what_channels_have_in_common(perturbation):
    codes = perturbation.codes[0].astype(float)
    codes[:, 1] = codes[:, 0] * 0.5  # two channels that go together
    white = np.random.default_rng(1).choice([-1.0, 1.0], (3, 48, 64))
    found = phase_randomised(codes, white)
    amplitudes = [np.abs(np.fft.fft2(each)) for each in (codes, found)]
    np.testing.assert_allclose(*amplitudes, atol=1e-6)
    np.testing.assert_allclose(found[:, 1], found[:, 0] * 0.5, atol=1e-9)
    assert abs(np.corrcoef(found[0, 0].ravel(), codes[0, 0].ravel())[0, 1]) < 0.1


def test_spectrum_noise_has_the_attack_s_own_values_and_nearly_its_amplitudes(images):
    random = np.random.default_rng(2)
    smooth = np.fft.ifft2(
        np.fft.fft2(random.normal(size=(6, 1, 3, 48, 64)))
        / (1 + 40 * np.hypot(*np.meshgrid(np.fft.fftfreq(48), np.fft.fftfreq(64), indexing="ij")))
    ).real
    attack = Perturbation.of_signs(np.sign(smooth[:, 0]).astype(np.int8))
    places, found = make_control(
        Control(SPECTRUM, 1, "a"), attack, images, [0] * 6, list("abcdef"), 0
    )
    assert list(places) == list(range(6))
    np.testing.assert_array_equal(
        np.sort(found.codes.reshape(18, -1)), np.sort(attack.codes.reshape(18, -1))
    )

    def smoothness(codes):  # how often neighbours have one sign
        return float((codes[..., 1:] == codes[..., :-1]).mean())

    # Signs make edges sharper, so it is a little less smooth than the attack; random signs: 0.5.
    assert smoothness(attack.codes) - 0.08 < smoothness(found.codes) < smoothness(attack.codes)
    assert smoothness(found.codes) > 0.6
    assert with_own_values(
        np.array([[[[3.0, 1.0, 2.0]]]]), np.array([[[[5, 7, 6]]]], np.int8)
    ).tolist() == [[[[7, 5, 6]]]]


def test_reseeded_noise_is_as_large_at_every_pixel_and_of_another_seed_each(images, perturbation):
    drawn = [
        make_control(
            Control(RESEEDED, number, "a"), perturbation, images, [0] * 6, list("abcdef"), 0
        )[1].codes
        for number in (1, 2)
    ]
    for codes in drawn:
        np.testing.assert_array_equal(abs(codes), abs(perturbation.codes))
    assert 0.4 < (drawn[0] == drawn[1]).mean() < 0.6


def test_partners_are_of_the_class_or_of_another_and_an_image_without_one_has_none(
    images, perturbation
):
    names, labels = list("abcdef"), [0, 0, 0, 1, 1, 2]
    same = transplants(names, labels, 0, Control(SAME_CLASS, 1, "x"))
    other = transplants(names, labels, 0, Control(OTHER_CLASS, 1, "x"))
    assert same[5] is None
    assert all(labels[p] == labels[i] and p != i for i, p in enumerate(same) if p is not None)
    assert sorted(p for p in same if p is not None) == [0, 1, 2, 3, 4]
    assert all(labels[p] != labels[i] for i, p in enumerate(other))
    assert transplants(names, [0] * 6, 0, Control(OTHER_CLASS, 1, "x")) == [None] * 6
    places, found = make_control(
        Control(SAME_CLASS, 1, "x"), perturbation, images, labels, names, 0
    )
    assert list(places) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(found.codes, perturbation.codes[same[:5]])
    np.testing.assert_array_equal(found.scale, perturbation.scale[same[:5]])


@pytest.mark.parametrize("name", ["shifted 1 of a", "same-class transplant 12 of b from c of d"])
def test_names_are_read_back_and_no_attack_may_have_one(name):
    assert read(name).name == name
    assert is_taken(name)
    for other in ("noise", "fgsm", "shifted one of a", "own-size noise of a", "shift"):
        assert read(other) is None


@pytest.fixture(scope="module")
def clf():
    made = la.load_classifier("test_resnet", num_classes=3, pretrained=False, input_size=64)
    enliven(made.module)
    made.name = "m"
    return made


@pytest.fixture(scope="module")
def measured(clf):
    return measure(clf, {"shifted": 2, "transplanted": 1, "spectrum": 1})


def measure(clf, controls, size=2, given=None, **options):
    shown = pixels(6, 3, 64, 64)
    labels = torch.tensor([0, 0, 1, 1, 1, 2])
    return la.measure(
        clf,
        shown,
        labels,
        attacks=[la.FGSM(), la.PGD(steps=2)],
        epsilons=[0.02, 0.1],
        grid=32,
        batch_size=size,
        controls=controls,
        layers="stages",
        given=given,
        **options,
    )


def test_every_control_is_measured_at_the_last_layer_under_its_own_formula(clf, measured):
    rows = measured.rows()
    shown = pixels(6, 3, 64, 64)
    names = Counts(2, 1, 1).names(["fgsm", "pgd"], [])
    there = rows.filter(pl.col("source").is_null())["attack"].unique(maintain_order=True).to_list()
    assert there == ["noise", "own-size noise of pgd", *names]
    shaped = rows.filter(pl.col("attack").is_in(names))
    assert shaped["layer"].unique().to_list() == [measured.frames.plan.last_layers["m"]]
    alone = shaped.filter(attack="same-class transplant 1 of fgsm")["image"].unique().len()
    assert alone == 5  # one image is alone in its class
    # An image by hand: FGSM's signs, rolled and added.
    fgsm = la.FGSM()(clf, shown, torch.tensor([0, 0, 1, 1, 1, 2]), [0.1])
    signs = (la.FGSM().find(clf, shown, torch.tensor([0, 0, 1, 1, 1, 2]), [0.1])).codes[:, 0] / 127
    way = random_shift(0, 2, shown[3].numpy())
    changed = (shown[3] + 0.1 * signs[3].roll(way, (-2, -1))).clip(0, 1)[None]
    assert not torch.equal(changed[0], fgsm[0, 3])
    cam, layer = la.GradCAM(), measured.frames.plan.last_layers["m"]
    before = cam(clf, shown[3:4], layers=layer)
    after = cam(clf, changed, classes=before.classes, layers=layer)
    score = float(la.nissim(la.heatmap(before.maps[layer], 32), la.heatmap(after.maps[layer], 32)))
    row = rows.filter(
        attack="shifted 2 of fgsm",
        image="000003",
        epsilon=0.1,
        explained_class="clean",
        layer=layer,
    )
    assert row["nissim"].item() == pytest.approx(score, abs=1e-4)
    assert row["linf"].item() == pytest.approx(float((changed[0] - shown[3]).abs().max()), abs=1e-6)


def test_numbers_do_not_depend_on_the_batch_and_others_rows_are_as_they_were(clf, measured):
    keys = ["image", "attack", "source", "epsilon", "layer", "explained_class"]
    rows = measured.rows()
    larger = measure(clf, {"shifted": 2, "transplanted": 1, "spectrum": 1}, size=6).rows()
    joined = rows.join(larger, on=keys, nulls_equal=True)
    assert joined.height == rows.height == larger.height
    assert (joined["nissim"] - joined["nissim_right"]).abs().max() < 1e-3
    none = measure(clf, {"shifted": 0})
    there = none.rows()["attack"].unique().to_list()
    assert none.rows().equals(rows.filter(pl.col("attack").is_in(there)))
    assert none.aimed().is_empty()
    for odd in ({"shifted": -1}, {"sanity": True}):  # the second is a study's alone
        with pytest.raises(InputError, match=r"to 100 of shifted, transplanted, spectrum, noise$"):
            measure(clf, odd)


def test_perturbations_of_others_have_controls_of_their_own(clf):
    given = measure(clf, {"shifted": 0}, keep_maps=True).perturbations
    found = measure(clf, {"shifted": 1}, given={("fgsm", "other"): given["fgsm"]}).rows()
    own, others = (
        found.filter(attack=f"shifted 1 of {name}").drop("attack")
        for name in ("fgsm", "fgsm from other")
    )
    assert own.height > 0
    assert own.equals(others)

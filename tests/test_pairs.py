"""Pairs of images are compared: LFW's own file, or a table; rates by counting, of other people."""

import numpy as np
import polars as pl
import pytest
import torch

import lookaway as la
from galleries import embedder
from lookaway.analysis.image_pairs import Pairs, dealt
from lookaway.analysis.verification import CLEAN
from lookaway.data.pairs import Pair, read_pairs
from lookaway.errors import DataError, InputError
from lookaway.metrics.verification import threshold_at
from oracles import pixels

PEOPLE = ["Al_Bo", "Cy_Di", "Ed_Fu", "Gy_Ho"]
LFW = """2\t2
Al_Bo\t1\t2
Al_Bo\t1\t3
Al_Bo\t1\tCy_Di\t1
Cy_Di\t2\tAl_Bo\t3
Ed_Fu\t1\t2
Gy_Ho\t2\t3
Ed_Fu\t1\tGy_Ho\t2
Gy_Ho\t1\tEd_Fu\t3
"""


@pytest.fixture(scope="module")
def lfw(tmp_path_factory):
    """LFW's tree, and its file."""
    from PIL import Image

    root = tmp_path_factory.mktemp("lfw")
    for place, person in enumerate(PEOPLE):
        (root / "images" / person).mkdir(parents=True)
        for number in range(1, 4):
            grid = (255 * pixels(40, 40, 3, seed=10 * place + number)).numpy() * 0.5
            grid[10 * (place % 2) : 10 * (place % 2) + 20, 10 * (place // 2) :][:, :20] += 100
            path = root / "images" / person / f"{person}_{number:04d}.png"
            Image.fromarray(grid.clip(0, 255).astype(np.uint8)).save(path)
    (root / "pairs.txt").write_text(LFW)
    return root


@pytest.fixture(scope="module")
def compared(lfw):
    attacks = [la.FGSM(objective="score"), la.MIFGSM(objective="score", steps=2)]
    return la.verify_pairs(
        embedder(),
        lfw / "pairs.txt",
        lfw / "images",
        image_size=40,
        attacks=attacks,
        epsilons=[0.02],
        batch_size=3,
    )


def test_lfw_s_file_gives_pairs_and_folds(lfw):
    images = [
        path.relative_to(lfw / "images").as_posix() for path in (lfw / "images").rglob("*.png")
    ]
    pairs = read_pairs(lfw / "pairs.txt", images)
    assert pairs[1] == Pair("Al_Bo/Al_Bo_0001.png", "Al_Bo/Al_Bo_0003.png", same=True, fold="1")
    assert pairs[-1] == Pair("Gy_Ho/Gy_Ho_0001.png", "Ed_Fu/Ed_Fu_0003.png", same=False, fold="2")
    assert [pair.fold for pair in pairs] == ["1"] * 4 + ["2"] * 4
    frame = pl.DataFrame(
        {
            "a": ["Al_Bo/Al_Bo_0001.png", "Al_Bo/Al_Bo_0001"],
            "b": ["Al_Bo/Al_Bo_0002", "Cy_Di/Cy_Di_0001"],
            "same": [1, 0],
        }
    )
    assert [pair.same for pair in read_pairs(frame, images)] == [True, False]
    frame.write_csv(lfw / "pairs.csv")
    assert read_pairs(lfw / "pairs.csv", images) == read_pairs(frame, images)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: the number of folds and of pairs is expected"),
        ("Al_Bo 1 2\n", "line 1: the number of folds"),
        ("1\nAl_Bo 1 2\nAl_Bo x Cy_Di 1\n", "line 3: 'Al_Bo x Cy_Di 1' is no pair"),
        ("2\nAl_Bo 1 2\nAl_Bo 1 Cy_Di 1\n", "holds 2 pairs, but its first line says 4"),
        ("1\nAl_Bo 1 9\nAl_Bo 1 Cy_Di 1\n", "names 1 images that are not there.*Al_Bo_0009"),
        ("1\nAl_Bo 1 1\nAl_Bo 1 Cy_Di 1\n", "is one image twice"),
        ("1\nAl_Bo 1 2\nAl_Bo 1 3\n", "there are none of a kind"),
    ],
)
def test_pairs_that_cannot_be_compared_are_told(lfw, tmp_path, text, told):
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(DataError, match=told):
        la.verify_pairs(embedder(), tmp_path / "pairs.txt", lfw / "images", image_size=40)
    wrong = pl.DataFrame({"a": ["Al_Bo/Al_Bo_0001"], "b": ["Cy_Di/Cy_Di_0001"], "same": [1]})
    with pytest.raises(DataError, match="said to show one person, but their folders are 'Al_Bo'"):
        la.verify_pairs(embedder(), wrong, lfw / "images", image_size=40)
    with pytest.raises(InputError, match="attacks on pairs have objective='score'"):
        la.verify_pairs(embedder(), wrong, lfw / "images", attacks=[la.FGSM()])


def test_genuine_pairs_are_dodged_and_impostor_pairs_impersonated(compared, lfw):
    clean = compared.similarities[CLEAN]
    from PIL import Image

    from lookaway.data.pixels import as_floats, to_grid

    def embedded(names):
        grids = [to_grid(Image.open(lfw / "images" / name).convert("RGB"), 40) for name in names]
        with torch.no_grad():
            return embedder()(torch.from_numpy(as_floats(grids)))

    cosines = (embedded(compared.a) * embedded(compared.b)).sum(dim=1)
    np.testing.assert_allclose(clean, cosines, atol=1e-5)
    for attack in ("fgsm", "mifgsm"):
        attacked = compared.similarities[attack, "dodging or impersonation", 0.02]
        assert (attacked[compared.same] < clean[compared.same]).all()
        assert (attacked[~compared.same] > clean[~compared.same]).all()
    noise = compared.similarities["noise", "", 0.02]
    assert np.abs(noise - clean).max() < np.abs(attacked - clean).max()


def test_pairs_with_an_image_without_a_known_face_are_left_out_and_listed(lfw, tmp_path):
    names = [f"{person}/{person}_000{number}" for person in PEOPLE for number in (1, 2, 3)]
    known = [f"{name}.png,4,4,30,30" for name in names[1:]]
    (tmp_path / "boxes.csv").write_text("\n".join(["image,x,y,w,h", *known]))
    wanted = [(names[0], names[1], 1), (names[1], names[2], 1), (names[1], names[3], 0)]
    found = la.verify_pairs(
        embedder(),
        pl.DataFrame(wanted, schema=["a", "b", "same"], orient="row"),
        lfw / "images",
        image_size=40,
        align="landmarks",
        landmarks=tmp_path / "boxes.csv",
    )
    assert found.set_aside == (f"{names[0]}.png",)
    assert [*zip(found.a, found.b, strict=True)] == [
        (f"{one}.png", f"{two}.png") for one, two, _ in wanted[1:]
    ]


def test_accuracy_may_accept_no_pair_and_every_pair():
    same, folds = np.array([True, False, False] * 2), np.repeat([0, 1], 3)
    persons, names = np.arange(12).reshape(6, 2), ["x"] * 6
    for clean, right in (([0.1, 0.9, 0.8] * 2, 2 / 3), ([0.9, 0.1, 0.2] * 2, 1.0)):
        found = Pairs(names, names, persons, same, folds, {CLEAN: np.array(clean)})
        accuracy = found.rates([0.01]).filter(measure="accuracy")["value"].item()
        assert accuracy == pytest.approx(right)
    all_same = Pairs(names, names, persons, ~same, folds, {CLEAN: np.array([0.1, 0.9, 0.8] * 2)})
    assert all_same.rates([0.01]).filter(measure="accuracy")["value"].item() == 1.0


def test_rates_are_counted_at_thresholds_of_other_folds():
    random = np.random.default_rng(0)
    persons = random.integers(0, 60, (3000, 2))
    persons[::3, 1] = persons[::3, 0]
    same = persons[:, 0] == persons[:, 1]
    clean = random.normal(0.3 + 0.3 * same, 0.12)
    attacked = clean - 0.2 * same + 0.1 * ~same
    folds = random.integers(0, 4, 3000)
    title = ("fgsm", "dodging or impersonation", 0.1)
    names = [str(place) for place in range(3000)]
    found = Pairs(names, names, persons, same, folds, {CLEAN: clean, title: attacked})
    frame = found.rates([0.01, 0.001])
    level = [threshold_at(clean[(folds != fold) & ~same], 0.01) for fold in range(4)]
    match = attacked >= np.array(level)[folds]
    told = {row["measure"]: row for row in frame.filter(attack="fgsm").iter_rows(named=True)}
    assert told["fnmr@0.01"]["value"] == pytest.approx((~match[same]).mean())
    assert told["fmr@0.01"]["value"] == pytest.approx(match[~same].mean())
    right = 0
    for fold in range(4):
        others = folds != fold
        falling = np.sort(clean[others])[::-1]
        middles = (falling[:-1] + falling[1:]) / 2
        best = max(middles, key=lambda t: ((clean[others] >= t) == same[others]).sum())
        right += ((attacked[~others] >= best) == same[~others]).sum()
    assert told["accuracy"]["value"] == pytest.approx(right / 3000)
    assert (
        told["fnmr@0.001"]["reason"]
        == "a clean FMR of 0.001 takes 10000 impostor pairs of other folds"
    )
    for name, kept in (("genuine", same), ("impostor", ~same)):
        assert told[name]["low"] < attacked[kept].mean() < told[name]["high"]
    for name in ("eer", "fnmr@0.01", "fmr@0.01", "accuracy"):
        assert told[name]["low"] < told[name]["value"] < told[name]["high"]
        width = told[name]["high"] - told[name]["low"]
        share, n = told[name]["value"], same.sum() if name.startswith("fnmr") else (~same).sum()
        assert (
            width > 0.9 * 2 * 1.96 * (share * (1 - share) / (3000 if "." not in name else n)) ** 0.5
        )


def test_people_who_are_compared_are_dealt_into_one_fold():
    persons = np.array([[0, 1], [1, 2], [3, 3], [4, 5], [6, 6], [7, 7], [8, 9]])
    folds = dealt(persons, [""] * 7)
    assert folds[0] == folds[1]
    assert len({*folds.tolist()}) == 5
    assert dealt(persons, [*"aabbcca"]).tolist() == [0, 0, 1, 1, 2, 2, 0]

"""The explorer's data are what the run stored, and stay small whatever the study."""

import base64
import io
import zlib

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lookaway.analysis.aimed import without_shaped
from lookaway.perturbation import Perturbation
from lookaway.report import explorer as explorer_module
from lookaway.report.explorer import Perturbed, _shares, explorer
from lookaway.report.pictured import PicturedImages


def made(result):
    found = PicturedImages(result.frames)
    return explorer(result.frames, found), found


def bytes_of(data, name):
    return np.frombuffer(zlib.decompress(data.blobs[name]), dtype=np.uint8)


def test_signs_are_those_that_were_stored_and_noise_is_made_again(finished):
    data, found = made(finished)
    perturbations = [Perturbed(**one) for one in data.about["perturbations"]]
    assert [one.source for one in perturbations] == [0, 1, None]
    for number, one in enumerate(perturbations):
        for place, image in enumerate(found.images):
            source = None if one.source is None else finished.frames.models[one.source]
            packed = bytes_of(data, f"codes-{number}-{place}")
            stored = {"signs": packed[None, None]}
            codes = Perturbation.from_arrays(stored, image.pixels.shape).codes
            expected = found.perturbation(image, one.attack, source).codes
            np.testing.assert_array_equal(codes, expected.transpose(0, 1, 3, 4, 2))
            assert np.abs(codes).max() == 127


def test_noise_that_is_made_again_gives_the_noise_rows_psnr(finished):
    _, found = made(finished)
    image = found.images[0]
    clean = image.pixels / 255.0
    attacked = found.attacked(image, "noise", None, 0.1)
    psnr = -10 * np.log10(np.mean((attacked - clean) ** 2))
    row = finished.rows().filter(
        pl.col("image") == image.image, pl.col("attack") == "noise", pl.col("epsilon") == 0.1
    )
    np.testing.assert_allclose(row["psnr"].to_numpy(), psnr, rtol=1e-5)


@pytest.mark.parametrize("name", ["finished", "layered"])
def test_maps_are_the_stored_ones_in_the_order_that_is_told(name, request):
    result = request.getfixturevalue(name)
    data, found = made(result)
    frames = result.frames
    for index, model in enumerate(data.about["models"]):
        for place, image in enumerate(found.images):
            raw, at = bytes_of(data, f"maps-{index}-{place}"), 0
            for layer in model["layers"]:
                height, width = layer["shown"]
                assert layer["shown"] == layer["size"]
                for policy in layer["policies"]:
                    names = (model["name"], layer["name"], frames.policies[policy])
                    expected = [found.clean_map(image, *names)[None]]
                    for number in model["perturbations"]:
                        one = data.about["perturbations"][number]
                        source = None if one["source"] is None else frames.models[one["source"]]
                        expected.append(found.attacked_maps(image, *names, one["attack"], source))
                    maps = np.concatenate(expected).astype(float)
                    shown = raw[at : at + maps.size].reshape(maps.shape) / 255
                    assert shown.shape[1:] == (height, width)
                    np.testing.assert_allclose(shown, maps, atol=0.5 / 255 + 1e-3)
                    at += maps.size
            assert at == raw.size


def test_results_are_the_rows(finished):
    data, found = made(finished)
    about = data.about
    names = {image.image for image in found.images}
    rows = without_shaped(finished.rows()).filter(pl.col("image").is_in(names))
    models = finished.frames.models
    for row in rows.iter_rows(named=True):
        model = models.index(row["model"])
        place = [image["name"] for image in about["images"]].index(row["image"])
        source = None if row["source"] is None else models.index(row["source"])
        number = about["perturbations"].index({"attack": row["attack"], "source": source})
        slot = about["models"][model]["perturbations"].index(number)
        level = about["epsilons"].index(row["epsilon"])
        result = about["results"][model][place]
        seen, confidence, psnr = result["attacked"][slot][level]
        assert about["classes"][seen] == row["attacked_class"]
        assert about["classes"][result["clean"][0]] == row["clean_class"]
        assert confidence == pytest.approx(row["attacked_confidence"], abs=1e-4)
        assert psnr == pytest.approx(row["psnr"], abs=0.01)
        layers = [layer["name"] for layer in about["models"][model]["layers"]]
        policy = about["policies"].index(row["explained_class"])
        nissim = result["nissim"][layers.index(row["layer"])][policy][slot][level]
        assert nissim == pytest.approx(row["nissim"], abs=1e-4)


def test_where_layers_are_many_maps_are_smaller_then_images_fewer_and_it_says_so(
    layered, monkeypatch
):
    whole, _ = made(layered)
    assert whole.note == ""
    before = sum(map(len, whole.blobs.values()))
    sizes = {tuple(layer["size"]) for layer in whole.about["models"][0]["layers"]}
    assert max(max(size) for size in sizes) > 7
    monkeypatch.setattr(explorer_module, "_SIDES", (7, 3))
    monkeypatch.setattr(explorer_module, "_MAP_BYTES", 20_000)
    smaller, _ = made(layered)
    shown = [layer["shown"] for layer in smaller.about["models"][0]["layers"] if not layer["last"]]
    assert max(max(size) for size in shown) == 7
    assert "averaged down" in smaller.note
    assert sum(map(len, smaller.blobs.values())) < before
    monkeypatch.setattr(explorer_module, "_MAP_BYTES", 900)
    fewest, found = made(layered)
    deep = [image["deep"] for image in fewest.about["images"]]
    assert 0 < sum(deep) < len(deep) == len(found.images)
    assert deep == sorted(deep, reverse=True)
    assert f"for the first {sum(deep)} images" in fewest.note


def test_where_images_are_many_the_first_are_drawn_and_of_others_there_are_small_copies(
    finished, monkeypatch
):
    monkeypatch.setattr(explorer_module, "_CODE_BYTES", 2 * 3 * 3 * 64 * 64 // 4)
    data, found = made(finished)
    images, small = data.about["images"], data.about["small"]
    drawn = [image for image in images if image["source"]]
    assert images[:2] == drawn
    assert {image["name"] for image in images} == {image.image for image in found.images}
    assert f"2 of the {len(found.images)} pictured images" in data.note
    assert "Of the others there are small copies" in data.note
    raw = base64.b64decode(small["source"].partition(",")[2])
    sheet = np.asarray(Image.open(io.BytesIO(raw)).convert("RGB")).astype(float)
    known = {image.image: image for image in found.images}
    for image, tile in zip(images[small["first"] :], small["tiles"], strict=True):
        down, right = (small["side"] * place for place in divmod(tile, small["columns"]))
        copy = sheet[down : down + small["side"], right : right + small["side"]]
        pixels = 255 * known[image["name"]].rgb
        assert pixels.shape == copy.shape  # the study's images are as small
        assert np.abs(copy - pixels).mean() < 12
        assert not image["deep"]
        assert image["mapped"]
    for model, of_images in enumerate(data.about["results"]):
        for image, result in zip(images, of_images, strict=True):
            row = finished.frames.shown_rows.filter(
                pl.col("source") == pl.col("model"),
                image=image["name"],
                model=finished.frames.models[model],
                epsilon=0.1,
                explained_class="clean",
            )
            assert result["nissim"][-1][data.about["policy"]][0][-1] == round(row["nissim"][0], 4)
    monkeypatch.setattr(explorer_module, "_SMALL_MAP_BYTES", 0)
    bare, _ = made(finished)
    assert [image["mapped"] for image in bare.about["images"]] == [True] * 2 + [False] * 4
    assert "no heatmaps" in bare.note
    assert not any(name.startswith("maps-0-2") for name in bare.blobs)


def test_the_page_says_how_many_of_the_test_images_it_draws(finished, monkeypatch):
    assert "test images" not in made(finished)[0].note  # all of them
    monkeypatch.setattr(explorer_module, "_IMAGES", 2)
    data, found = made(finished)
    assert len(data.about["images"]) == 2
    assert f"2 of the {len(found.images)} test images are drawn here" in data.note
    assert "numbers and charts are of all" in data.note


@given(st.integers(0, 2**31), st.sampled_from([(4, 4), (9, 5), (20, 20)]), st.floats(0, 1))
def test_only_a_dead_map_becomes_nothing(seed, size, faint):
    random = np.random.default_rng(seed)
    maps = np.zeros((3, *size), dtype=np.float16)
    maps[0] = random.random(size) * (random.random(size) < 0.1)
    maps[1, size[0] - 1, 0] = max(faint, 1e-4)
    target = (min(4, size[0]), min(4, size[1]))
    shares = _shares(maps, target)
    assert shares.shape == (3, *target)
    alive = maps.max(axis=(1, 2)) > 0
    np.testing.assert_array_equal(shares.max(axis=(1, 2)) > 0, alive)

"""A study of pixels of one channel: stored, shown and exported as grey."""

import base64
import zlib
from io import BytesIO

import numpy as np
import polars as pl
import pytest
from PIL import Image

from lookaway.data.folder import FolderSource
from lookaway.data.pixels import as_floats, to_grid
from lookaway.export import export
from lookaway.perturbation import Perturbation
from lookaway.report.explorer import explorer
from lookaway.report.pictured import PicturedImages


@pytest.fixture(scope="module")
def pictured(grey_run):
    return PicturedImages(grey_run.frames)


def test_signs_have_one_channel_and_noise_that_is_made_again_gives_its_rows(grey_run, pictured):
    for image in pictured.images:
        assert image.pixels.shape == (64, 64, 1)
        clean = image.pixels / 255.0
        for attack, source in (("fgsm", "one"), ("noise", None)):
            change = pictured.perturbation(image, attack, source)
            assert change.codes.shape == (1, 1, 1, 64, 64)
            attacked = pictured.attacked(image, attack, source, 0.1)[..., :1]
            row = grey_run.rows().filter(
                pl.col("image") == image.image, pl.col("attack") == attack, pl.col("epsilon") == 0.1
            )
            psnr = -10 * np.log10(np.mean((attacked - clean) ** 2))
            np.testing.assert_allclose(row["psnr"].to_numpy(), psnr, rtol=1e-5)


def test_the_explorer_has_grey_pictures_bit_for_bit_and_a_third_of_the_signs(grey_run, pictured):
    data = explorer(grey_run.frames, pictured)
    assert data.about["channels"] == 1
    for place, image in enumerate(pictured.images):
        raw = base64.b64decode(data.about["images"][place]["source"].partition(",")[2])
        with Image.open(BytesIO(raw)) as picture:
            shown = np.asarray(picture.convert("RGB"))
        np.testing.assert_array_equal(shown, np.broadcast_to(image.pixels, shown.shape))
        packed = np.frombuffer(zlib.decompress(data.blobs[f"codes-0-{place}"]), dtype=np.uint8)
        assert packed.size == 64 * 64 // 4
        stored = Perturbation.from_arrays({"signs": packed[None, None]}, (64, 64, 1)).codes
        own = pictured.perturbation(image, "fgsm", "one").codes
        np.testing.assert_array_equal(stored[..., 0], own[:, :, 0])


def test_every_figure_is_drawn(grey_run):
    names = grey_run.figures()
    for name in names:
        assert "<svg" in grey_run.figure(name).svg()


@pytest.mark.parametrize("kind", ["png", "npy"])
def test_exported_images_have_one_channel(grey_run, small_study, tmp_path, kind):
    _, strong = export(grey_run.folder, tmp_path, kind=kind)
    source = FolderSource(small_study["data"]["folder"])
    records = {record.image: record for record in source.scan().records}
    for image in grey_run.rows()["image"].unique():
        path = strong / f"{image.removesuffix('.' + kind)}.{kind}"
        if kind == "npy":
            found = np.load(path)
            assert found.shape == (1, 64, 64)
        else:
            with Image.open(path) as picture:
                assert picture.mode == "L"
                found = np.asarray(picture)[None] / 255.0
        clean = as_floats([to_grid(source.open(records[image]).convert("L"), 64)])[0]
        apart = np.abs(found - clean)
        assert apart.max() == pytest.approx(0.1, abs=1e-6 + (kind == "png") * 0.5 / 255)

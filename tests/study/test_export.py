"""Exported test sets are the images that the study measured."""

import json
import shutil
import sys

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from typer.testing import CliRunner

import lookaway as la
from lookaway.cli import app, main
from lookaway.data.folder import FolderSource
from lookaway.data.pixels import as_floats, to_grid
from lookaway.errors import DataError, InputError, StoreError
from lookaway.export import export
from lookaway.study.store import Store


def pictures(place):
    return sorted(path.relative_to(place).as_posix() for path in place.rglob("*.*"))


def read(path):
    if path.suffix == ".npy":
        return np.load(path)
    return as_floats([np.asarray(Image.open(path))])[0]


@pytest.mark.parametrize("kind", ["png", "npy"])
def test_every_test_image_is_there_at_every_ε_as_it_was_measured(
    looked, quick_study, tmp_path, kind
):
    places = export(looked.folder, tmp_path, kind=kind)
    assert [str(place.relative_to(tmp_path)) for place in places] == [
        "fgsm-from-one/epsilon-0.02",
        "fgsm-from-one/epsilon-0.1",
    ]
    rows = looked.rows().filter(pl.col("source") == "one").unique(["image", "epsilon"])
    source = FolderSource(quick_study["data"]["folder"])
    records = {record.image: record for record in source.scan().records}
    for place, epsilon in zip(places, [0.02, 0.1], strict=True):
        assert len(pictures(place)) == rows["image"].n_unique()
        for image, psnr in rows.filter(epsilon=epsilon).select("image", "psnr").rows():
            path = place / f"{image.removesuffix('.' + kind)}.{kind}"
            found = read(path)
            clean = as_floats([to_grid(source.open(records[image]), 64)])[0]
            assert found.shape == (3, 64, 64)
            assert np.abs(found - clean).max() <= epsilon + 1e-6 + (kind == "png") * 0.5 / 255
            again = la.psnr(torch.from_numpy(clean)[None], torch.from_numpy(found)[None])
            assert float(again) == pytest.approx(psnr, abs=1e-4 if kind == "npy" else 0.3)


def test_the_command_says_where_they_are(looked, tmp_path, monkeypatch, capsys):
    command = ["export", str(looked.folder), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*command, "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    written = json.loads(done.stdout)["written"]
    assert written == [str(tmp_path / f"out/fgsm-from-one/epsilon-{e}") for e in ("0.02", "0.1")]
    monkeypatch.setattr(sys, "argv", ["lookaway", *command, "--source", "two"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "'two' is no source of this study; possible: one" in capsys.readouterr().err


def test_what_cannot_be_exported_is_told(looked, quick_study, run_quickly, tmp_path):
    with pytest.raises(InputError, match="no kind 'jpg'; possible: png, npy"):
        export(looked.folder, tmp_path, kind="jpg")
    with pytest.raises(StoreError, match="holds no run"):
        export(tmp_path, tmp_path)
    moved = tmp_path / "moved"
    shutil.copytree(quick_study["data"]["folder"], moved)
    test = looked.samples().filter(pl.col("part") == "test")["image"][0]
    (moved / test).write_bytes(b"another")
    with pytest.raises(DataError, match="changed"):
        export(looked.folder, tmp_path / "out", data=moved)
    alone = run_quickly({**quick_study, "transfer_from": []}, tmp_path / "alone")
    with pytest.raises(InputError, match="no transfer_from"):
        export(alone.folder, tmp_path / "out")


def test_no_name_of_a_stored_image_leads_out_of_the_folder(looked, tmp_path, monkeypatch):
    real = Store.samples_of

    def hostile(*given):
        return real(*given).with_columns(image=pl.lit("../../out of it/") + pl.col("image"))

    monkeypatch.setattr(Store, "samples_of", hostile)
    monkeypatch.setattr(FolderSource, "open", lambda *_: Image.new("RGB", (64, 64)))
    with pytest.raises(StoreError, match="outside"):
        export(looked.folder, tmp_path / "in" / "deep")
    assert not list(tmp_path.rglob("*.png"))


def test_of_perturbations_a_source_s_are_kept_for_every_image_and_others_for_the_pictured(looked):
    shown = {
        model: len(
            next(iter(load_file(looked.folder / "signs" / f"{key.id}.safetensors").values()))
        )
        for model in ("one", "two")
        for key in [looked.store.identity.cell("none", model, 0)]
    }
    count = len(looked.store.identity.shards("none")[0])
    assert shown == {"one": count, "two": 0}  # of its images, none of them pictured

"""Every layer can be explained for the pictured images alone; the last layer is for all."""

import numpy as np
import polars as pl
import pytest

from lookaway.study.store import Store

KEYS = ["image", "model", "attack", "source", "epsilon", "layer", "explained_class"]


def explained(study, **settings):
    return {**study, "explain": {**study["explain"], "layers": "convs", "pictured": 2, **settings}}


@pytest.fixture(scope="module")
def both(quick_study, tmp_path_factory):
    """The same study with every layer of all images, and of two pictured ones."""
    import lookaway as la
    from lookaway.study import prepare

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "SHARD", 4)
        patch.setattr("lookaway.run.build_report", lambda *_a, **_k: None)
        return {
            of: la.run_study(
                explained(quick_study, layers_of=of),
                tmp_path_factory.mktemp(of) / "out",
                progress=False,
            )
            for of in ("all", "pictured")
        }


def last(result):
    layers = result.plan.last_layers
    return pl.col("layer") == pl.col("model").replace_strict(layers, return_dtype=pl.String)


def test_the_last_layer_s_rows_are_those_of_every_image_in_the_same_order(both):
    whole, few = (both[of].rows().filter(last(both[of])) for of in ("all", "pictured"))
    assert few.select(KEYS).equals(whole.select(KEYS))
    assert few["attacked_class"].equals(whole["attacked_class"])
    assert (few["nissim"] - whole["nissim"]).abs().mean() < 1e-3


def test_the_other_layers_rows_are_of_the_pictured_images(both):
    result = both["pictured"]
    shown = set(result.samples().filter("pictured")["image"])
    others = result.rows().filter(~last(result))
    assert len(shown) == 2
    assert set(others["image"]) == shown
    whole = both["all"].rows().filter(~last(both["all"]), pl.col("image").is_in(shown))
    joined = others.join(whole, on=KEYS, nulls_equal=True)
    assert joined.height == others.height == whole.height
    assert (joined["nissim"] - joined["nissim_right"]).abs().mean() < 1e-3


def test_maps_and_signs_stand_in_the_order_of_the_shard(both):
    stores = [Store(both[of].folder) for of in ("all", "pictured")]
    for keys in zip(*(store.identity.cells() for store in stores), strict=True):
        whole, few = (store.read_maps(key) for store, key in zip(stores, keys, strict=True))
        assert set(whole) >= set(few)
        for name, maps in few.items():
            assert maps.shape == whole[name].shape
            assert np.abs(maps.astype(float) - whole[name].astype(float)).mean() < 1e-2
    for path in sorted((stores[0].folder / "signs").glob("*")):
        whole, few = (store.read_arrays(store.folder / "signs" / path.name) for store in stores)
        for name, signs in few.items():
            assert signs.shape == whole[name].shape
            assert (signs != whole[name]).sum() <= 0.01 * signs.size


def test_shuffled_heatmaps_are_of_the_images_that_a_layer_has(both):
    result = both["pictured"]
    compared = result.store.frame("shuffled")
    whole = both["all"].store.frame("shuffled")
    assert compared.filter(last(result)).height == whole.filter(last(both["all"])).height
    shown = set(result.samples().filter("pictured")["image"])
    assert set(compared.filter(~last(result))["image"]) <= shown

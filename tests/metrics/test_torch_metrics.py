"""The study's numbers as torchmetrics' metrics, checked in the ways of its own ``MetricTester``."""

import pickle
import sys

import pytest
import torch

import lookaway as la
from lookaway.errors import InputError
from lookaway.kernel import Key
from lookaway.metrics.map_nissim import nissim_of_maps
from two_processes import in_two_processes, pairs_of_maps, reduced_metrics

torchmetrics = pytest.importorskip("torchmetrics")
metrics = pytest.importorskip("lookaway.metrics")

LEVELS = 3
BATCHES = [pairs_of_maps(count, LEVELS, seed) for seed, count in enumerate((4, 1, 3))]


def nissims(clean, attacked, grid=32, ssim="gaussian11"):
    """(L, N), pair by pair."""
    return torch.stack(
        [
            torch.cat(
                [
                    nissim_of_maps(a[None], b[None], grid, ssim)
                    for a, b in zip(clean, level, strict=True)
                ]
            )
            for level in attacked
        ]
    )


def dead(maps):
    return maps.flatten(-2).amax(dim=-1) == 0


def mean_of(values, used):
    return torch.stack([row[keep].mean() for row, keep in zip(values, used, strict=True)], dim=0)


def vid_by_formula(clean, attacked, per, zero, alive):
    values, gone = nissims(clean, attacked), dead(attacked) | dead(clean)
    if zero:
        values = torch.cat([torch.zeros_like(values[:1]), values])
        gone = torch.cat([dead(clean)[None], gone])
    used = ~gone if alive else torch.ones_like(gone)
    if per == "image":
        whole = used.all(dim=0)
        return values[:, whole].numpy().std(axis=0).mean()
    if per == "level":
        return mean_of(values, used).numpy().std()
    return values[used].numpy().std()


def excess_by_formula(clean, attacked, control, alive):
    gone = dead(attacked) | dead(control) | dead(clean)
    used = ~gone if alive else torch.ones_like(gone)
    return mean_of(nissims(clean, attacked) - nissims(clean, control), used)


def mod_by_formula(clean, attacked, alive):
    gone = dead(attacked) | dead(clean)
    return mean_of(nissims(clean, attacked), ~gone if alive else torch.ones_like(gone))


def each_nissim(clean, attacked, alive):
    gone = (dead(attacked) | dead(clean)).any(dim=0)
    return nissims(clean, attacked)[:, ~gone if alive else torch.ones_like(gone)]


CASES = {"NISSIM": each_nissim, "MeanObservedDissimilarity": mod_by_formula}
CASES = {(name, alive): (name, {}, slow, alive) for name, slow in CASES.items() for alive in (0, 1)}
CASES |= {
    ("VID", per, zero, alive): (
        "VariationInDissimilarity",
        {"per": per, "include_zero": zero},
        lambda clean, attacked, alive, per=per, zero=zero: vid_by_formula(
            clean, attacked, per, zero, alive
        ),
        alive,
    )
    for per in ("image", "level", "pooled")
    for zero in (False, True)
    for alive in (0, 1)
}
CASES |= {("excess", alive): ("ExcessShift", {}, excess_by_formula, alive) for alive in (0, 1)}

of_each_kind = pytest.mark.parametrize(
    "case",
    [("NISSIM", 0), ("MeanObservedDissimilarity", 1), ("VID", "image", True, 1), ("excess", 0)],
    indirect=True,
)


@pytest.fixture(params=CASES, ids=lambda key: " ".join(map(str, key)))
def case(request):
    """A metric, what it is given in batches, and its formula."""
    name, options, slow, alive = CASES[request.param]
    pairs = "alive" if alive else "all"
    metric = getattr(metrics, name)(levels=LEVELS, pairs=pairs, grid=32, **options)
    given = 3 if name == "ExcessShift" else 2
    batches = [batch[:given] for batch in BATCHES]
    return metric, batches, lambda *maps: torch.as_tensor(slow(*maps, alive))


def together(batches):
    return [
        torch.cat(parts, dim=0 if place == 0 else 1)
        for place, parts in enumerate(zip(*batches, strict=True))
    ]


def close(found, expected):
    expected = expected.squeeze() if expected.numel() == 1 else expected  # as torchmetrics does
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-12)


def test_forward_and_compute_give_the_formula_also_after_pickling_and_in_a_clone(case):
    metric, batches, slow = case
    metric = pickle.loads(pickle.dumps(metric))
    clone = metric.clone()
    assert clone is not metric
    close(metric(*batches[0]), slow(*batches[0]))
    clone.update(*batches[0])
    assert torch.equal(clone.compute(), metric.compute())
    metric = pickle.loads(pickle.dumps(metric))  # with what it holds
    for batch in batches[1:]:
        metric.update(*batch)
    close(metric.compute(), slow(*together(batches)))
    close(clone.compute(), slow(*batches[0]))
    metric.reset()
    metric.update(*batches[2])
    close(metric.compute(), slow(*batches[2]))


def test_states_merge_and_are_not_stored_with_weights(case):
    metric, batches, slow = case
    other = metric.clone()
    metric.update(*batches[0])
    other.update(*batches[2])
    metric.merge_state(other)
    expected = together([batches[2], batches[0]])  # torchmetrics puts what comes in first
    close(metric.compute(), slow(*expected))
    assert metric.state_dict() == {}
    assert isinstance(hash(metric), int)


@of_each_kind
def test_it_says_what_it_is_and_has_no_gradient(case):
    metric, batches, _ = case
    assert (metric.higher_is_better, metric.is_differentiable) == (False, False)
    assert metric.full_state_update is False
    for name in ("higher_is_better", "is_differentiable"):
        with pytest.raises(RuntimeError):
            setattr(metric, name, True)
    maps = [each.clone().requires_grad_() for each in batches[0]]
    assert not metric(*maps).requires_grad


@pytest.mark.parametrize("name", metrics.__all__)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_it_can_be_scripted(name):
    torch.jit.script(getattr(metrics, name)(levels=2))


@of_each_kind
def test_a_number_does_not_depend_on_dtype_moves_or_autocast(case):
    metric, batches, slow = case
    metric = metric.half().float().to("cpu")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        metric.update(*batches[0])
    close(metric.compute(), slow(*batches[0]))
    assert metric.compute().dtype == torch.float64
    assert metric.set_dtype(torch.float32).compute().dtype == torch.float32


def test_the_numbers_are_those_of_a_measurement(tiny):
    random = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 16, 16, generator=random)
    labels = torch.arange(6) % 4
    epsilons = [0.02, 0.05, 0.1]
    found = la.measure(tiny, images, labels, epsilons=epsilons, grid=32, keep_maps=True)
    (layer,) = tiny.layer_names("last")
    key = ("gradcam", "clean", layer)
    clean = torch.from_numpy(found.maps[Key("clean_maps", *key)])
    attacked = torch.from_numpy(found.maps[Key("attacked_maps", *key)])  # (N, P, E, h, w)
    own, control = (
        attacked[:, [name for name, _ in found.sources].index(name)].movedim(0, 1)
        for name in ("fgsm", "noise")
    )
    names = [
        metrics.MeanObservedDissimilarity(levels=3, grid=32),
        metrics.VariationInDissimilarity(levels=3, grid=32),
        metrics.ExcessShift(levels=3, grid=32),
        metrics.NISSIM(levels=3, grid=32),
    ]
    collection = torchmetrics.MetricCollection(names)
    for places in (slice(0, 4), slice(4, 6)):
        collection.update(
            clean_maps=clean[places],
            attacked_maps=own[:, places],
            control_maps=control[:, places],
        )
    values = collection.compute()

    rows = found.rows().filter(attack="fgsm", explained_class="clean")
    for level, epsilon in enumerate(epsilons):
        theirs = rows.filter(epsilon=epsilon)["nissim"].to_list()
        assert values["NISSIM"][level].tolist() == theirs  # bit for bit
    mod = found.mod().filter(attack="fgsm", explained_class="clean", pairs="all")
    assert values["MeanObservedDissimilarity"].tolist() == pytest.approx(mod["mod"].to_list())
    excess = found.excess().filter(attack="fgsm", explained_class="clean", pairs="all")
    assert values["ExcessShift"].tolist() == pytest.approx(excess["excess"].to_list(), abs=1e-15)
    for per in ("image", "level", "pooled"):
        for pairs in ("all", "alive"):
            vid = metrics.VariationInDissimilarity(levels=3, per=per, pairs=pairs, grid=32)
            vid.update(clean, own)
            theirs = found.vid(per=per).filter(attack="fgsm", explained_class="clean", pairs=pairs)
            assert float(vid.compute()) == pytest.approx(theirs["vid"].item(), rel=1e-12)


def test_a_collection_shares_no_state_between_metrics_of_other_settings():
    alike = torch.eye(4)[None]  # the first batch: every metric of it is 0
    collection = torchmetrics.MetricCollection(
        {
            "coarse": metrics.MeanObservedDissimilarity(grid=16),
            "fine": metrics.MeanObservedDissimilarity(grid=64),
            "living": metrics.MeanObservedDissimilarity(grid=16, pairs="alive"),
            "uniform": metrics.MeanObservedDissimilarity(grid=16, ssim="uniform7"),
        }
    )
    collection.update(alike, alike)
    collection.update(alike, alike.flip(1))
    collection.update(alike, torch.zeros_like(alike))
    apart = [alike, alike.flip(1)], [alike, torch.zeros_like(alike)]
    values = {name: float(value) for name, value in collection.compute().items()}
    for name, grid, ssim in (("coarse", 16, "gaussian11"), ("fine", 64, "gaussian11")):
        two = [float(nissim_of_maps(*pair, grid, ssim)) for pair in apart]
        assert values[name] == pytest.approx(sum(two) / 3)
    assert values["living"] == pytest.approx(float(nissim_of_maps(*apart[0], 16)) / 2)
    assert len(set(values.values())) == 4


def test_one_level_takes_plain_maps_and_gives_a_scalar():
    metric = metrics.MeanObservedDissimilarity(grid=32)
    clean, attacked, _ = BATCHES[0]
    value = metric(clean, attacked[0])
    assert value.shape == ()
    close(value, nissims(clean, attacked[:1]).mean())


def test_where_no_pair_counts_there_is_none_and_why():
    metric = metrics.MeanObservedDissimilarity(pairs="alive")
    metric.update(torch.zeros(2, 4, 4), torch.ones(2, 4, 4))
    with pytest.warns(UserWarning, match="no pair of maps in which no map is dead"):
        assert metric.compute() is None
    told = pytest.raises(InputError, match="no value to draw")
    with pytest.warns(UserWarning, match="no pair of maps"), told:
        metric.plot()
    metric.update(torch.eye(4)[None], torch.eye(4)[None])
    assert float(metric.compute()) == 0.0
    assert metrics.NISSIM(pairs="alive")(torch.zeros(2, 4, 4), torch.ones(2, 4, 4)).shape == (0,)


@pytest.mark.parametrize("name", ["NISSIM", "MeanObservedDissimilarity", "ExcessShift"])
def test_it_draws_a_value_and_several(name):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    metric = getattr(metrics, name)(grid=32)
    clean, attacked, control = BATCHES[0]
    given = (clean, attacked[0], control[0])[: 3 if name == "ExcessShift" else 2]
    values = [metric(*given), metric(*given)]
    for drawn in (metric.plot(), metric.plot(values)):
        assert drawn[1].get_title() or drawn[1].get_ylabel()
        plt.close(drawn[0])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"pairs": "living"}, "possible: all, alive"),
        ({"ssim": "box"}, "possible: gaussian11"),
        ({"grid": 7}, "at least 11"),
        ({"levels": 0}, "at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, told):
    with pytest.raises(InputError, match=told):
        metrics.MeanObservedDissimilarity(**options)


def test_variation_needs_two_levels_and_a_known_way():
    with pytest.raises(InputError, match="at least 2"):
        metrics.VariationInDissimilarity(levels=1)
    with pytest.raises(InputError, match="possible: image, level, pooled"):
        metrics.VariationInDissimilarity(levels=2, per="pixel")


@pytest.mark.parametrize(
    ("clean", "attacked", "told"),
    [
        (torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4), r"\(N, h, w\)"),
        (torch.rand(2, 4, 4), torch.rand(3, 4, 4), "must have the shape"),
        (torch.rand(2, 4, 4) - 2, torch.rand(2, 4, 4), "at least 0"),
        (torch.full((1, 4, 4), float("nan")), torch.rand(1, 4, 4), "finite"),
        (torch.ones(1, 4, 4, dtype=torch.int), torch.rand(1, 4, 4), "float tensor"),
    ],
)
def test_what_are_no_maps_is_refused_and_not_counted(clean, attacked, told):
    metric = metrics.MeanObservedDissimilarity(grid=32)
    with pytest.raises(InputError, match=told):
        metric.update(clean, attacked)
    with pytest.warns(UserWarning, match="no pair of maps"):
        assert metric.compute() is None


@pytest.mark.program
def test_two_processes_reduce_to_the_numbers_of_all_pairs(tmp_path):
    for found in in_two_processes(reduced_metrics, tmp_path):
        clean, attacked, control = together([pairs_of_maps(n, 2, n) for n in (4, 3)])
        values = nissims(clean, attacked)
        close(found["mod"], values.mean(dim=1))
        close(found["vid"], torch.as_tensor(values.numpy().std(axis=0).mean()))
        close(found["pooled"], torch.as_tensor(values.numpy().std()))
        close(found["excess"], (values - nissims(clean, control)).mean(dim=1))
        close(found["nissim"], values)
        close(found["on step"], values.mean(dim=1))
        first = pairs_of_maps(4, 2, 4)
        close(found["of one"], nissims(*first[:2]))  # the other process had no pairs
        close(found["mod of one"], nissims(*first[:2]).mean(dim=1))
        assert found["local after"] == found["local before"]


def test_without_torchmetrics_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    monkeypatch.delitem(sys.modules, "lookaway.metrics.torch_metrics", raising=False)
    monkeypatch.delattr(metrics, "torch_metrics", raising=False)
    with pytest.raises(ImportError, match=r"NISSIM needs torchmetrics.*lookaway\[metrics\]"):
        from lookaway.metrics import NISSIM  # noqa: F401
    assert not hasattr(metrics, "SSIM")

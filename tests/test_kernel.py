"""The kernel, against the public calls made one image, ε, layer and class at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import lookaway as la
from lookaway import compared
from lookaway.attacks.base import Attack
from lookaway.baseline import compare_images
from lookaway.errors import InputError
from lookaway.explainers.cam import CAM
from lookaway.kernel import Key, MeasureSettings, measure_images, perturbations_of
from lookaway.perturbation import Perturbation
from oracles import Passes, enliven, pixels
from waits import waits

EPSILONS = (0.02, 0.1)


@pytest.fixture(scope="module")
def clf():
    made = la.load_classifier("test_resnet", num_classes=4, pretrained=False, input_size=64)
    enliven(made.module)
    made.name = "m"
    return made


@pytest.fixture(scope="module")
def images():
    return pixels(5, 3, 64, 64)


@pytest.fixture(scope="module")
def labels(clf, images):
    """The network's own predictions, but for the last image."""
    with torch.no_grad():
        own = clf(images).argmax(dim=1)
    own[-1] = (own[-1] + 1) % 4
    return own


@pytest.fixture(scope="module")
def settings(clf):
    (last,) = clf.layer_names("last")
    return MeasureSettings(
        epsilons=EPSILONS,
        layers=(clf.layer_names("convs")[0], last),
        last=last,
        policies=("own", "clean", "label"),
        grid=32,
        batch_size=2,
    )


class Drift(Attack):
    """No sign attack: moves towards grey, by half of ε at most, and otherwise for each ε."""

    name = "drift"

    def perturb(self, clf, images, labels, epsilons):
        return torch.stack(
            [images + (0.5 - images).clamp(-e / 2, e / 2) * (0.5 + e) for e in epsilons]
        )


class Pointwise(CAM):
    """Gradient times activation, position by position."""

    name = "pointwise"
    gradients = "full"

    def weights(self, activations, gradients):
        return gradients


def each_one(clf, images, labels, settings, attacked, explainer):
    """NISSIM (N, E) by policy and layer, from the public calls, an image at a time."""
    found = {}
    for place, (image, label) in enumerate(zip(images[:, None], labels[:, None], strict=True)):
        clean_own = explainer(clf, image).classes
        for policy in settings.policies:
            for layer in settings.layers:
                for level in range(len(settings.epsilons)):
                    changed = attacked[level][place][None]
                    before = {"own": None, "clean": None, "label": label}[policy]
                    after = {"own": None, "clean": clean_own, "label": label}[policy]
                    pair = [
                        la.heatmap(
                            explainer(clf, pixels, classes, layers=layer).maps[layer],
                            settings.grid,
                        )
                        for pixels, classes in ((image, before), (changed, after))
                    ]
                    score = float(la.nissim(*pair, settings.ssim))
                    found.setdefault((policy, layer), {})[place, level] = score
    return found


@pytest.mark.parametrize(
    ("attack", "explainer"), [(la.FGSM(), la.GradCAM()), (Drift(), Pointwise())]
)
def test_numbers_are_those_of_the_public_calls_one_image_at_a_time(
    clf, images, labels, settings, attack, explainer
):
    found = measure_images(clf, images, labels, settings, [attack], [explainer])
    controls = ["noise"] if attack.by_signs else ["noise", "own-size noise of drift"]
    assert found.sources == ((attack.name, "m"), *((name, None) for name in controls))
    own = Perturbation(torch.from_numpy(found.perturbations[attack.name].codes))
    attacked = [own.attacked(images, level, e) for level, e in enumerate(EPSILONS)]
    exact = attack(clf, images, labels, EPSILONS)
    for level, epsilon in enumerate(EPSILONS):
        assert float((attacked[level] - exact[level]).abs().max()) <= epsilon / 127 + 1e-6
    expected = each_one(clf, images, labels, settings, attacked, explainer)
    for (policy, layer), scores in expected.items():
        values = found.arrays[Key("nissim", explainer.name, policy, layer)]
        assert values.shape == (5, 1 + len(controls), 2)
        for (place, level), score in scores.items():
            assert values[place, 0, level] == pytest.approx(score, abs=1e-3)
    with torch.no_grad():
        logits, clean = torch.stack([clf(each) for each in attacked], dim=1), clf(images)
    predicted = logits.argmax(dim=2)
    np.testing.assert_array_equal(found.arrays[Key("attacked_class")][:, 0], predicted)
    first = clean.argmax(dim=1)
    of_first = logits.gather(2, first[:, None, None].expand(-1, 2, 1))[..., 0]
    for name, value in (("clean_logit", clean.amax(dim=1)), ("attacked_logit", of_first)):
        array = found.arrays[Key(name)]
        array = array if name == "clean_logit" else array[:, 0]
        np.testing.assert_allclose(array, value, atol=1e-4)
    changes = [(each - images).abs().flatten(1).amax(dim=1) for each in attacked]
    np.testing.assert_allclose(
        found.arrays[Key("linf")][:, 0], torch.stack(changes, dim=1), atol=1e-7
    )
    noise = la.SignNoise(0)(clf, images, labels, EPSILONS)
    np.testing.assert_allclose(
        found.arrays[Key("psnr")][:, 1],
        torch.stack([la.psnr(images, each) for each in noise], dim=1),
        atol=1e-3,
    )
    assert not np.isnan(found.arrays[Key("nissim", explainer.name, "own", settings.last)]).any()


def test_an_attack_that_changes_classes_makes_policies_differ_just_there(
    clf, images, labels, settings
):
    arrays = measure_images(clf, images, labels, settings, [la.FGSM()], [la.GradCAM()]).arrays
    own, clean, label = (
        arrays[Key("nissim", "gradcam", policy, settings.last)]
        for policy in ("own", "clean", "label")
    )
    flipped = arrays[Key("attacked_class")] != arrays[Key("clean_class")][:, None, None]
    right = arrays[Key("clean_class")] == labels.numpy()
    assert flipped.any()
    assert not flipped.all()
    np.testing.assert_array_equal(own[~flipped], clean[~flipped])
    assert (own[flipped] != clean[flipped]).any()
    np.testing.assert_array_equal(clean[right], label[right])
    assert (clean[~right] != label[~right]).any()


def test_the_rows_hold_evidence_apart_from_place_and_a_common_resolution(
    clf, images, labels, settings
):
    found = measure_images(clf, images, labels, settings, [la.FGSM()], [la.GradCAM()])
    arrays, last = found.arrays, settings.last
    for layer in settings.layers:
        view = "gradcam", "clean", layer
        clean, attacked = (
            torch.from_numpy(arrays[Key(f"{name}_maps", *view)]) for name in ("clean", "attacked")
        )
        pair = clean[:, None, None].expand_as(attacked).flatten(0, 2), attacked.flatten(0, 2)
        dead = (pair[0].amax(dim=(1, 2)) == 0) | (pair[1].amax(dim=(1, 2)) == 0)
        for measure in (la.log_mass_ratio, la.sliced_wasserstein):
            kept = arrays[Key(measure.__name__, *view)].ravel()
            expected = measure(*(maps[~dead] for maps in pair))
            np.testing.assert_allclose(kept[~dead], expected, atol=1e-6)
            assert np.isnan(kept[dead]).all()
    view = "gradcam", "clean", last
    common = arrays[Key("nissim_common", *view)]
    np.testing.assert_array_equal(common, arrays[Key("gaussian11@common", *view)])
    apart = replace(settings, statistics=False)
    again = measure_images(clf, images, labels, apart, [la.FGSM()], [la.GradCAM()]).arrays
    np.testing.assert_array_equal(common, again[Key("nissim_common", *view)])
    own = replace(apart, common=clean.shape[1:])
    same = measure_images(clf, images, labels, own, [la.FGSM()], [la.GradCAM()]).arrays
    np.testing.assert_array_equal(same[Key("nissim_common", *view)], same[Key("nissim", *view)])


def test_classes_are_compared_once_however_many_policies_explain_them(
    clf, images, labels, settings, monkeypatch
):
    met = []

    def counted(clean, *rest):
        met.append(len(clean))
        return real(clean, *rest)

    real = compared.nissim_of_maps
    monkeypatch.setattr(compared, "nissim_of_maps", counted)
    few = replace(settings, layers=(settings.last,), noise_seed=None, statistics=False)
    few = replace(few, common=clf.trace(images.shape[2:]).layers[settings.last].size)
    arrays = measure_images(clf, images, labels, few, [la.FGSM()], [la.GradCAM()]).arrays
    flipped = arrays[Key("attacked_class")] != arrays[Key("clean_class")][:, None, None]
    wrong = (arrays[Key("clean_class")] != labels.numpy())[:, None, None]
    pairs = 5 * len(EPSILONS) + flipped.sum() + np.broadcast_to(wrong, flipped.shape).sum()
    assert sum(met) == pairs


@pytest.mark.parametrize("deep", [False, True])
def test_each_image_passes_once_clean_and_once_for_each_attacked_copy(
    clf, images, labels, settings, deep
):
    few = settings if deep else replace(settings, layers=(settings.last,))
    with Passes(clf.module) as passes:
        measure_images(clf, images, labels, replace(few, batch_size=5), [la.FGSM()], [la.GradCAM()])
    assert passes.count == 1 + 2 * len(EPSILONS)  # the attack and the noise
    assert passes.images == 5 * passes.count


def test_own_size_noise_changes_each_pixel_as_much_as_its_attack_in_the_noise_s_direction(
    clf, images, labels, settings
):
    few = replace(settings, layers=(settings.last,), policies=("own",))
    found = measure_images(clf, images, labels, few, [Drift()], [la.GradCAM()])
    theirs = Perturbation(-found.perturbations["drift"].codes)
    given = {("drift", "other"): theirs}
    both = measure_images(clf, images, labels, few, [Drift()], [la.GradCAM()], given)
    assert [name for name, source in both.sources if source is None] == [
        *("noise", "own-size noise of drift", "own-size noise of drift from other")
    ]
    signs = la.SignNoise(0).signs(clf, images, labels)
    for level, epsilon in enumerate(EPSILONS):
        sizes = np.abs(found.perturbations["drift"].codes[:, level].astype(np.float32)) / 127
        changed = (images + epsilon * torch.from_numpy(sizes) * signs).clamp(0, 1)
        psnr = la.psnr(images, changed)
        np.testing.assert_allclose(found.arrays[Key("psnr")][:, 2, level], psnr, atol=1e-3)
        np.testing.assert_allclose(both.arrays[Key("psnr")][:, 3:, level].T, [psnr] * 2, atol=1e-3)


def test_other_models_perturbations_are_measured_as_they_are(clf, images, labels, settings):
    made = perturbations_of(clf, images, labels, settings, [la.FGSM()], [la.GradCAM()])["fgsm"]
    own = measure_images(clf, images, labels, settings, [la.FGSM()], [la.GradCAM()])
    np.testing.assert_array_equal(made.codes, own.perturbations["fgsm"].codes)
    other = Perturbation(-made.codes)
    found = measure_images(
        clf,
        images,
        labels,
        settings,
        [la.FGSM()],
        [la.GradCAM()],
        given={("fgsm", "same"): made, ("fgsm", "other"): other},
    )
    assert found.sources == (("fgsm", "m"), ("fgsm", "same"), ("fgsm", "other"), ("noise", None))
    for key, values in own.arrays.items():
        if key.name == "nissim":
            np.testing.assert_array_equal(found.arrays[key][:, :2], values[:, [0, 0]])
            assert (found.arrays[key][:, 2] != values[:, 0]).any()


def test_maps_of_layers_before_the_last_are_given_back_of_the_images_asked_for(
    clf, images, labels, settings
):
    keep = torch.tensor([False, True, False, False, True])
    whole = measure_images(clf, images, labels, settings, [la.FGSM()], [la.GradCAM()])
    some = measure_images(clf, images, labels, settings, [la.FGSM()], [la.GradCAM()], keep=keep)
    for key, values in whole.arrays.items():
        kept = keep if key.name == "attacked_maps" and key.layer != settings.last else slice(None)
        np.testing.assert_array_equal(some.arrays[key], values[kept])


def test_quantized_images_are_rounded_to_eight_bit(clf, images, labels, settings):
    rounded = replace(settings, quantize=True, epsilons=(0.0005,))
    found = measure_images(clf, images, labels, rounded, [la.FGSM()], [la.GradCAM()])
    whole = torch.round(images * 255) / 255
    again = measure_images(clf, whole, labels, rounded, [la.FGSM()], [la.GradCAM()])
    assert (found.arrays[Key("linf")] > 0.0005).any()  # rounding, too
    assert again.arrays[Key("unattacked")].all()  # an eighth of a step is rounded away
    assert not found.arrays[Key("unattacked")].any()


@pytest.mark.parametrize("size", [1, 5])
def test_batches_agree_to_rounding(clf, images, labels, settings, size):
    alone = measure_images(clf, images, labels, settings, [la.SignNoise(3)], [la.GradCAM()])
    other = measure_images(
        clf, images, labels, replace(settings, batch_size=size), [la.SignNoise(3)], [la.GradCAM()]
    )
    for key, values in alone.arrays.items():
        np.testing.assert_allclose(other.arrays[key], values, atol=1e-3)


# With a loop, in memory


def test_a_tensor_a_dataset_and_a_loader_give_the_same_rows(clf, images, labels):
    arguments = {"epsilons": EPSILONS, "grid": 32, "layers": "stages"}
    arguments["controls"] = {"shifted": 1}
    pairs = torch.utils.data.TensorDataset(images, labels)
    loader = torch.utils.data.DataLoader(pairs, batch_size=3)
    by_tensor = la.measure(clf, images, labels, **arguments)
    assert la.measure(clf, pairs, **arguments).rows().equals(by_tensor.rows())
    by_loader = la.measure(clf, loader, **arguments).rows()
    rounded = ["nissim", "nissim_common", "log_mass_ratio", "sliced_wasserstein"]
    assert by_loader.drop(rounded).equals(by_tensor.rows().drop(rounded))
    count = len(clf.layer_names("stages"))
    assert by_tensor.rows().height == 5 * 2 * 2 * count * 2 + 5 * 2 * 2  # shifted: the last layer


def test_a_measurement_is_summed_up_by_explainer(clf, images, labels):
    explainers = [la.GradCAM(), Pointwise()]
    found = la.measure(
        clf,
        images,
        labels,
        epsilons=EPSILONS,
        grid=32,
        explainers=explainers,
        keep_maps=True,
        controls={"shifted": 0},
    )
    mod = found.mod()
    rows = found.rows()
    for method in ("gradcam", "pointwise"):
        mine = rows.filter(method=method, attack="fgsm", epsilon=0.1, explained_class="own")
        line = mod.filter(
            method=method, attack="fgsm", epsilon=0.1, explained_class="own", pairs="all"
        )
        assert line["mod"].item() == pytest.approx(mine["nissim"].mean())
        assert Key("attacked_maps", method, "own", rows["layer"][0]) in found.maps
    assert found.accuracy().filter(epsilon=0.0)["accuracy"].to_list() == [0.8, 0.8]
    assert found.vid()["vid"].null_count() == 0
    assert found.perturbations["fgsm"].codes.shape == (5, 1, 3, 64, 64)
    assert repr(found) == f"Measurement(5 images, {rows.height} rows)"


def test_a_classifier_is_afterwards_as_it_was(clf, images, labels):
    before = {name: value.clone() for name, value in clf.module.state_dict().items()}
    flags = [parameter.requires_grad for parameter in clf.module.parameters()]
    clf.module.train()
    state = torch.get_rng_state()
    try:
        la.measure(clf, images, labels, epsilons=[0.1], grid=32)
        assert clf.module.training
    finally:
        clf.module.eval()
    assert torch.equal(torch.get_rng_state(), state)
    assert [p.requires_grad for p in clf.module.parameters()] == flags
    assert all(p.grad is None for p in clf.module.parameters())
    assert not any(module._forward_hooks for module in clf.module.modules())
    for name, value in clf.module.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_network_of_several_labels_explains_the_label_alone(clf, images, labels):
    several = la.Classifier(
        clf.module, mean=clf.mean, std=clf.std, input_size=64, outputs="multilabel"
    )
    with pytest.raises(InputError, match="several labels at once"):
        la.measure(several, images, labels, epsilons=[0.1], grid=32)
    found = la.measure(several, images, labels, epsilons=[0.1], grid=32, explained_class=["label"])
    assert found.rows()["explained_class"].unique().to_list() == ["label"]


SIGNS = Perturbation.of_signs(torch.ones(5, 3, 64, 64, dtype=torch.int8))
LEVELS = Perturbation(torch.ones(5, 4, 3, 64, 64, dtype=torch.int8))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"attacks": [la.FGSM(), la.FGSM()]}, "attacks have a name twice.*fgsm"),
        ({"explainers": [la.GradCAM(), la.GradCAM()]}, "explainers have a name twice.*gradcam"),
        ({"given": {("pgd", "other"): SIGNS}}, "'pgd', which is none of the attacks: fgsm"),
        ({"given": {("fgsm", "other"): SIGNS.of([0, 1, 2, 3, 4, 4])}}, r"are \(6, 1, 3"),
        ({"given": {("fgsm", "other"): SIGNS.of(slice(2))}}, r"are \(2, 1, 3, 64, 64\), for"),
        ({"given": {("fgsm", "other"): LEVELS}, "epsilons": [0.1, 0.2]}, "and 2 levels"),
        ({"classes": ["a", "b"]}, "4 logits, and classes 2 names"),
        ({"labels": torch.eye(5, 4, dtype=torch.long)}, "labels must be an integer tensor"),
        ({"labels": None}, "labels must be given"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, "3 labels for images"),
        ({"epsilons": [8]}, "epsilon 8 is outside"),
        ({"explained_class": ["predicted"]}, "own, clean, label.*predicted"),
        ({"explained_class": []}, "own, clean, label"),
        ({"ssim": "msssim"}, "gaussian11, uniform7.*msssim"),
        ({"grid": 5}, "at least 11"),
        ({"explainers": []}, "explainers is empty"),
        ({"images": [], "labels": None}, "no images to measure"),
        ({"images": [torch.rand(2, 3, 64, 64)], "labels": None}, "pair of images and labels"),
    ],
)
def test_bad_arguments_are_named(clf, images, labels, given, told):
    arguments = {"images": images, "labels": labels, "grid": 32} | given
    with pytest.raises(InputError, match=told):
        la.measure(clf, arguments.pop("images"), arguments.pop("labels"), **arguments)


def test_what_is_measured_is_the_same_bits_whatever_else_is_measured(clf, settings):
    images, labels = pixels(7, 3, 64, 64), torch.arange(7) % 4
    settings = replace(settings, epsilons=(0.02, 0.05, 0.1), scores=True)
    pgd, methods = la.PGD(steps=2), [la.GradCAM(), la.EigenCAM(), Pointwise()]
    shifted = Perturbation.of_signs(np.sign(np.random.default_rng(0).normal(size=images.shape)))
    given = {("fgsm", "other"): Perturbation((shifted.codes).astype(np.int8))}
    whole = measure_images(clf, images, labels, settings, [la.FGSM(), pgd], methods, given)
    few = replace(settings, epsilons=(0.05,), layers=settings.layers[:1])
    noise = ("own-size noise of pgd", None)
    attacked = [("fgsm", "m"), ("fgsm", "other"), ("pgd", "m")]
    assert list(whole.sources) == [*attacked, ("noise", None), noise]
    parts = [
        measure_images(clf, images, labels, few, [pgd], methods[1:]),
        measure_images(
            clf, images, labels, few, [la.FGSM()], methods[:1], given, only={("fgsm", "other")}
        ),
        measure_images(
            clf,
            images,
            labels,
            replace(few, epsilons=(0.1,), layers=(settings.last,)),
            [pgd],
            methods[2:],
            own={"pgd": Perturbation(whole.perturbations["pgd"].codes[:, 2:])},
            only={noise, ("noise", None)},
        ),
    ]
    assert [part.sources for part in parts[1:]] == [(("fgsm", "other"),), (("noise", None), noise)]
    np.testing.assert_array_equal(
        parts[0].perturbations["pgd"].codes, whole.perturbations["pgd"].codes[:, 1:2]
    )
    for part, level in zip(parts, (1, 1, 2), strict=True):
        sources = [whole.sources.index(source) for source in part.sources]
        for key, array in part.arrays.items():
            full = whole.arrays[key]
            if key.name == "targets":
                continue
            if full.ndim > 1 and not key.name.startswith(
                ("clean_maps", "clean_dead", "clean_scores")
            ):
                full = full[:, sources, level : level + 1]
            np.testing.assert_array_equal(array, full, err_msg=str(key))


def test_layers_epsilons_policies_and_methods_let_a_device_wait_no_more_often(clf, settings):
    convs, images = clf.layer_names("convs"), pixels(3, 3, 64, 64)
    labels, keep = torch.tensor([0, 1, 0]), torch.tensor([True, False, True])

    def counted(layers, epsilons, policies, methods):
        how = replace(settings, layers=(*convs[:layers], settings.last), epsilons=epsilons)
        how = replace(how, policies=policies, scores=True)
        with waits() as found:
            measured = measure_images(clf, images, labels, how, [la.FGSM()], methods, keep=keep)
            whole, same = [(np.arange(3), measured)], replace(how, policies=("own", "label"))
            compare_images(clf, images, labels, "abc", same, methods, whole)
        return found

    few = 1, (0.02,), ("own", "label"), [la.GradCAM()]
    more = 3, (0.02, 0.1), ("own", "clean", "label"), [la.GradCAM(), la.EigenCAM()]
    counted(*more)  # what is kept for good is made
    found = counted(*few)
    assert found == counted(*more)
    assert sum(found.values()) < 60


@pytest.mark.parametrize(
    "wait",
    [
        *(Tensor.tolist, bool, float, Tensor.nonzero, lambda x: x[x > 0], lambda x: x.cpu()),
        *(lambda x: x.masked_select(x > 0), lambda x: torch.equal(x, x), Tensor.numpy),
    ],
)
def test_what_lets_a_device_wait_is_counted(wait):
    with waits() as found:
        wait(torch.ones(1))
    assert found

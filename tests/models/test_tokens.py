"""Networks of tokens and channels-last maps: what is read of them, and what is refused."""

import pytest
import timm
import torch
import torchvision
from torch import nn

import lookaway as la
from lookaway.errors import InputError, LayerError
from lookaway.models.randomness import seeded
from networks import OF_TOKENS
from oracles import assert_read_as_timm_does, enliven, output_of, pixels, state_of


def classifier(name, **said):
    network = OF_TOKENS[name]
    return la.Classifier(enliven(network.make().eval()), input_size=network.size, **said)


@pytest.mark.parametrize("layer", ["blocks.0.attn", "blocks.0.mlp.fc1", "blocks.1.norm2"])
def test_layers_within_blocks_are_read_as_the_blocks_are(layer):
    network, clf = OF_TOKENS["class token"], classifier("class token")
    images = pixels(2, 3, network.size, network.size)
    maps = network.maps(output_of(clf.module, layer, images))
    found = la.EigenCAM()(clf, images, layers=layer).maps[layer]
    assert found.shape == (2, *maps.shape[2:])
    layout = clf.trace().layers[layer].layout
    assert torch.equal(layout.maps(output_of(clf.module, layer, images)), maps)


def test_depth_runs_to_1_at_the_end_of_the_last_block():
    layers = classifier("class token").trace().layers
    depths = [layers[name].depth for name in ("patch_embed.proj", "blocks.0", "blocks.1", "norm")]
    assert depths == [0.0, 0.5, 1.0, 1.0]
    assert depths[1] < layers["blocks.1.norm1"].depth + 1e-9 < depths[2]


def test_behind_the_last_attention_the_tokens_that_nobody_reads_have_dead_maps():
    clf = classifier("class token")
    images = pixels(2, 3, 48, 48)
    assert la.GradCAM()(clf, images, layers="blocks.1").dead["blocks.1"].all()
    assert clf.layer_names("stages") == ["blocks.0", "blocks.1"]
    assert clf.layer_names("convs") == ["patch_embed.proj"]


@pytest.mark.parametrize("name", ["mixer", "windows"])
def test_last_is_found_with_a_head_of_zeros_which_stays_so(name):
    module = OF_TOKENS[name].make().eval()
    with torch.no_grad():
        module.get_classifier().weight.zero_()
    before = state_of(module)
    clf = la.Classifier(module, input_size=OF_TOKENS[name].size)
    assert clf.layer_names("last") == [OF_TOKENS[name].last]
    assert state_of(module) == before


def test_tokens_in_another_order_are_refused_by_name_and_those_in_order_are_read():
    options = {"img_size": (64, 64), "embed_dim": 16, "num_heads": 1, "stages": (1, 1, 1, 1)}
    hiera = timm.create_model("hiera_tiny_224", num_classes=4, **options).eval()
    clf = la.Classifier(hiera, input_size=64)
    assert_read_as_timm_does(clf, stages=False)
    assert clf.layer_names("last") == ["blocks.3"]
    with pytest.raises(LayerError, match=r"Hiera has the stage 'reroll', which does not run"):
        clf.layer_names("stages")
    with pytest.raises(LayerError, match=r"'blocks\.0' .* not known where they lie; say .*tokens="):
        clf.layer_names("blocks.0")


def test_of_a_layer_that_gives_several_tensors_the_one_with_the_grid_is_read():
    options = {"img_size": 48, "embed_dim": 24, "depth": 2, "num_heads_outer": 2}
    tnt = enliven(timm.create_model("tnt_s_patch16_224", num_classes=4, **options).eval())
    clf = la.Classifier(tnt, input_size=48)
    assert clf.layer_names("last") == ["blocks.1.norm_out"]
    images = pixels(2, 3, 48, 48)
    kept = {}
    handle = tnt.blocks[0].register_forward_hook(
        lambda _b, _i, output: kept.update(output=output[1], none=output[1].retain_grad())
    )
    tnt(images).amax(dim=1).sum().backward()
    handle.remove()
    weights = kept["output"].grad[:, 1:].mean(dim=1, keepdim=True)
    expected = (weights * kept["output"][:, 1:]).sum(dim=2).relu().view(2, 3, 3).detach()
    found = la.GradCAM()(clf, images, layers="blocks.0").maps["blocks.0"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.max()))


@pytest.mark.parametrize("reentrant", [True, False])
def test_layers_that_would_be_computed_again_are_not_while_they_are_explained(reentrant):
    plain, clf = classifier("class token"), classifier("class token")
    images, labels = pixels(2, 3, 48, 48), torch.tensor([0, 1])
    timm.layers.set_reentrant_ckpt(reentrant)
    try:
        clf.module.set_grad_checkpointing()
        found = la.GradCAM()(clf, images).maps
        torch.testing.assert_close(found, la.GradCAM()(plain, images).maps, rtol=0, atol=0)
        attacked = la.FGSM()(clf, images, labels, [0.1])
        assert torch.equal(attacked, la.FGSM()(plain, images, labels, [0.1]))
    finally:
        timm.layers.set_reentrant_ckpt(False)
    assert clf.module.grad_checkpointing


# Networks that are none of timm's.


def mine(**said):
    """torchvision's ViT: 3x3 tokens behind a class token."""
    options = {"patch_size": 16, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
    with seeded(0):
        vit = torchvision.models.VisionTransformer(image_size=48, num_classes=4, **options)
    return la.Classifier(enliven(vit.eval()), input_size=48, name="mine", **said)


def by_hand(x):
    return x[:, 1:].reshape(len(x), 3, 3, x.shape[2]).permute(0, 3, 1, 2)


BLOCKS = [f"encoder.layers.encoder_layer_{place}" for place in range(2)]


@pytest.mark.parametrize("kind", ["last", BLOCKS[0]])
def test_tokens_of_which_nothing_is_known_are_refused_with_what_to_say(kind):
    with pytest.raises(LayerError, match=r"mine|encoder_layer_0.*tokens=\(h, w, prefix\)"):
        mine().layer_names(kind)


@pytest.mark.parametrize("said", [(3, 3, 1), by_hand], ids=["numbers", "function"])
def test_tokens_are_read_as_the_user_says(said):
    clf, images = mine(tokens=said), pixels(2, 3, 48, 48)
    assert clf.layer_names("last") == [f"{BLOCKS[1]}.ln_1"]
    kept = {}
    handle = clf.module.get_submodule(BLOCKS[0]).register_forward_hook(
        lambda _b, _i, output: kept.update(output=output, none=output.retain_grad())
    )
    clf.module(images).amax(dim=1).sum().backward()
    handle.remove()
    activations, gradients = by_hand(kept["output"]).detach(), by_hand(kept["output"].grad)
    expected = (gradients.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1).relu()
    found = la.GradCAM()(clf, images, layers=BLOCKS[0])
    torch.testing.assert_close(found.maps[BLOCKS[0]], expected, rtol=1e-4, atol=1e-6)
    assert not found.dead[BLOCKS[0]].all()


def test_a_network_of_timms_within_another_is_read_as_it_is_alone():
    alone = classifier("class token")
    wrapped = la.Classifier(nn.Sequential(nn.Identity(), alone.module), input_size=48)
    images = pixels(2, 3, 48, 48)
    for layers in ("last", "stages"):
        names = alone.layer_names(layers)
        assert wrapped.layer_names(layers) == [f"1.{name}" for name in names]
    found = la.GradCAM()(wrapped, images).maps["1.blocks.1.norm1"]
    assert torch.equal(found, la.GradCAM()(alone, images).maps["blocks.1.norm1"])


@pytest.mark.parametrize("tokens", [(14, 14), (0, 3, 1), (3, 3, -1), "3x3", (3.0, 3, 1), 9])
def test_tokens_that_make_no_sense_are_refused(tokens):
    with pytest.raises(InputError, match=r"tokens must be \(h, w, prefix\).*got"):
        mine(tokens=tokens)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: x[:, 1:], r"must make maps \(N, C, h, w\)"),
        (lambda x: by_hand(x) / 2, "must only move numbers"),
        (lambda x: by_hand(x).flip(0), "must only move numbers"),
        (lambda x: by_hand(x) * 0, "must only move numbers"),
    ],
    ids=["tokens", "scales", "mixes images", "zeros"],
)
def test_a_function_that_does_more_than_move_numbers_is_refused(function, said):
    with pytest.raises(InputError, match=said):
        mine(tokens=function).layer_names("last")


def test_said_tokens_that_no_layer_gives_are_refused():
    clf = mine(tokens=(7, 7, 1))
    with pytest.raises(LayerError, match="mine has no last layer"):
        clf.layer_names("last")

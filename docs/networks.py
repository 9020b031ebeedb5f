"""Which of timm's families of networks are read, as a Markdown table: ``python docs/networks.py``.

``tests/models/test_families.py`` holds the table of ``networks.md`` against it.
"""

import warnings

import timm
import torch

import lookaway as la
from lookaway.errors import LayerError

# A small network of each family that has layers of tokens or with channels last.
FAMILIES = {
    "ViT": "vit_tiny_patch16_224",
    "ViT on a ResNet": "vit_tiny_r_s16_p8_224",
    "ViT, relative positions": "vit_relpos_small_patch16_224",
    "DeiT": "deit_tiny_patch16_224",
    "DeiT, distilled": "deit_tiny_distilled_patch16_224",
    "DeiT III": "deit3_small_patch16_224",
    "DINOv2": "vit_small_patch14_dinov2",
    "DINOv2 with registers": "vit_small_patch14_reg4_dinov2",
    "DINOv3": "vit_small_patch16_dinov3",
    "CLIP": "vit_base_patch32_clip_224",
    "SigLIP": "vit_base_patch32_siglip_256",
    "BEiT": "beit_base_patch16_224",
    "EVA-02": "eva02_tiny_patch14_224",
    "FlexiViT": "flexivit_small",
    "NaFlexViT": "naflexvit_base_patch16_gap",
    "SAM": "samvit_base_patch16",
    "Hiera": "hiera_tiny_224",
    "SAM 2": "sam2_hiera_tiny",
    "Swin": "swin_tiny_patch4_window7_224",
    "Swin v2": "swinv2_tiny_window8_256",
    "Swin v2 CR": "swinv2_cr_tiny_224",
    "CaiT": "cait_xxs24_224",
    "XCiT": "xcit_nano_12_p16_224",
    "LeViT": "levit_128s",
    "MViT v2": "mvitv2_tiny",
    "PiT": "pit_ti_224",
    "TNT": "tnt_s_patch16_224",
    "CrossViT": "crossvit_tiny_240",
    "CoaT": "coat_lite_tiny",
    "ConViT": "convit_tiny",
    "NesT": "nest_tiny",
    "VOLO": "volo_d1_224",
    "MLP-Mixer": "mixer_s32_224",
    "ResMLP": "resmlp_12_224",
    "gMixer": "gmixer_12_224",
    "gMLP": "gmlp_ti16_224",
    "Sequencer": "sequencer2d_s",
    "EfficientFormer": "efficientformer_l1",
    "EfficientFormer v2": "efficientformerv2_s0",
    "PVT v2": "pvt_v2_b0",
    "Twins-PCPVT": "twins_pcpvt_small",
    "Twins-SVT": "twins_svt_small",
    "GCViT": "gcvit_xxtiny",
    "DaViT": "davit_tiny",
    "FocalNet": "focalnet_tiny_srf",
    "CAFormer": "caformer_s18",
    "PoolFormer v2": "poolformerv2_s12",
    "MobileViT": "mobilevit_xxs",
    "MaxViT": "maxvit_pico_rw_256",
    "CoAtNet": "coatnet_pico_rw_224",
    "EdgeNeXt": "edgenext_xx_small",
    "NextViT": "nextvit_small",
    "SwiftFormer": "swiftformer_xs",
    "TinyViT": "tiny_vit_5m_224",
    "EfficientViT (MIT)": "efficientvit_b0",
    "EfficientViT (MSRA)": "efficientvit_m0",
    "FastViT": "fastvit_t8",
    "ViTamin": "vitamin_small_224",
    "Visformer": "visformer_tiny",
    "MambaOut": "mambaout_femto",
    "ConvNeXt": "convnext_atto",
    "HaloNet": "halonet26t",
    "BoTNet": "botnet26t_256",
    "MobileNet v4, hybrid": "mobilenetv4_hybrid_medium",
}
HEADS = ("family", "tried with", "`last`", "its maps", "`stages`")
_LARGEST = 256  # px


def load(name: str) -> la.Classifier:
    """A network with random weights, for images of at most 256 px where its size is not fixed."""
    size = timm.get_pretrained_cfg(name).input_size[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return la.load_classifier(
            name, num_classes=3, pretrained=False, input_size=min(size, _LARGEST)
        )


def row(family: str, clf: la.Classifier) -> tuple[str, ...]:
    """A line of the table: what is read of a network, or that it is refused."""
    try:
        (last,) = clf.layer_names("last")
        layer = clf.trace().layers[last]
        height, width = layer.size
        lies = "(N, C, h, w)" if layer.layout is None else f"channels {layer.layout.channels}"
        before = layer.layout.prefix if layer.layout else 0
        maps = f"{height}×{width}, {lies}" + (f", behind {before}" if before else "")
        last = f"`{last}`"
    except LayerError:
        last, maps = "refused", ""
    try:
        stages = str(len(clf.layer_names("stages")))
    except LayerError:
        stages = "refused"
    return family, f"`{clf.name}`", last, maps, stages


if __name__ == "__main__":
    torch.set_num_threads(1)
    lines = [HEADS, ("---",) * len(HEADS), *(row(each, load(FAMILIES[each])) for each in FAMILIES)]
    print("\n".join("| " + " | ".join(line) + " |" for line in lines))  # noqa: T201

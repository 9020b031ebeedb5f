"""The paper's marks, and no other."""

import pytest

from lookaway.analysis.families import families, family
from plans import a_plan


@pytest.mark.parametrize(
    ("timm", "mark"),
    [
        ("vgg16", "deep"),
        ("vgg16_bn.tv_in1k", "deep"),
        ("resnet50", "deep"),
        ("resnet101.a1h_in1k", "deep"),
        ("test_resnet.r160_in1k", "deep"),
        ("inception_v3.tf_adv_in1k", "wide"),
        ("legacy_xception", "wide"),
        ("xception", "wide"),
        ("xception65", "wide"),
        ("wide_resnet50_2", None),
        ("inception_resnet_v2", None),
        ("inception_next_tiny", None),
        ("repvgg_a0", None),
        ("resnetv2_50", None),
        ("resnext50_32x4d", None),
        ("efficientnet_b0", None),
        ("hf-hub:someone/resnet50", None),
    ],
)
def test_only_the_papers_families_are_marked(timm, mark):
    assert family(timm) == mark


def test_models_are_marked_by_architecture_not_by_name():
    plan = a_plan({"xception": "vgg16", "mine": "densenet121"})
    assert families(plan) == {"xception": "deep", "mine": None}

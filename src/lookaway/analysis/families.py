"""Which networks the paper calls deep, and which wide."""

import re

from lookaway.study.json_files import Plan

DEEP, WIDE = "deep", "wide"
_PATTERNS = {
    DEEP: r"vgg\d+(_bn)?|(test_)?resnet(\d+[a-z]?)?",
    WIDE: r"inception_v\d|(legacy_)?xception(\d+p?)?",
}


def family(timm: str) -> str | None:
    """``deep`` for VGG and ResNet, ``wide`` for Inception and Xception, None for all others.

    The paper's marks; it names no other family.

    Args:
        timm: a timm name, with or without the tag of its weights.

    >>> family("resnet50.a1_in1k"), family("legacy_xception"), family("wide_resnet50_2")
    ('deep', 'wide', None)
    """
    architecture = timm.partition(".")[0]
    for mark, pattern in _PATTERNS.items():
        if re.fullmatch(pattern, architecture):
            return mark
    return None


def families(plan: Plan) -> dict[str, str | None]:
    """Each model's mark, in the study's order."""
    return {spec.name: family(spec.timm or "") for spec in plan.settings.models}

"""Planted cases: networks of which it is known what moves their looks, and what is found."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lookaway as la
from lookaway.report.conclusions import conclusions
from lookaway.report.opening import opening
from rows import line

SIDE = 32


def blurred(grey):
    """Means of 5×5 pixels, round the edges: white noise goes, what is smooth stays."""
    return F.avg_pool2d(F.pad(grey, (2, 2, 2, 2), mode="circular"), 5, stride=1)


class Planted(nn.Module):
    """Looks at an image's red half, until its gate opens a look at the other half.

    The gradient of its loss is a fixed smooth pattern, plus for dark blue and minus for light blue,
    the two classes. The gate opens for that very pattern (``aimed``), or for any change as smooth.
    """

    def __init__(self, aimed):
        super().__init__()
        blocks = torch.rand(8, 8, generator=torch.Generator().manual_seed(1)) > 0.5
        pattern = 2.0 * blocks.repeat_interleave(4, 0).repeat_interleave(4, 1) - 1
        self.register_buffer("pattern", pattern)
        self.aimed, self.maps = aimed, nn.Identity()

    def forward(self, pixels):
        grey = pixels.mean(dim=1, keepdim=True)
        grey = grey - grey.mean(dim=(2, 3), keepdim=True)
        along = (grey * self.pattern).mean(dim=(1, 2, 3))
        light = pixels[:, 2].mean(dim=(1, 2)) - 0.5
        smooth = blurred(grey).abs().mean(dim=(1, 2, 3))
        opened = F.relu(-along * light.sign() - 0.05 if self.aimed else smooth - 0.03)
        looks = F.relu(F.avg_pool2d(pixels[:, :1] - pixels[:, 1:2], 4))
        elsewhere = 40 * opened[:, None, None, None] * looks.roll(4, -1)
        maps = self.maps(torch.cat([looks, elsewhere], dim=1))
        same = maps.mean(dim=(1, 2, 3))
        apart = 30 * along + 10 * light
        return torch.stack([same - apart, same + apart], dim=1)


@pytest.fixture(scope="module", params=[True, False], ids=["aimed", "any smooth change"])
def found(request):
    """A measurement of a planted network, and whether it is the aimed one."""
    random = torch.Generator().manual_seed(2)
    images = 0.5 + 0.05 * (torch.rand(40, 3, SIDE, SIDE, generator=random) - 0.5)
    images[:, 0, :, : SIDE // 2] += 0.2
    images[:, 1, :, : SIDE // 2] -= 0.2
    labels = torch.arange(40) % 2
    images[:, 2] += 0.2 * labels[:, None, None] - 0.1
    clf = la.Classifier(Planted(request.param), name="planted", input_size=SIDE)
    made = la.measure(
        clf,
        images,
        labels,
        epsilons=[0.1],
        layers=["maps"],
        explained_class=["clean"],
        grid=32,
        controls={"shifted": 2, "transplanted": 1, "spectrum": 1, "noise": 2},
    )
    return made, request.param


def test_only_what_is_aimed_has_an_aimed_excess(found):
    measurement, aimed = found
    excess = line(measurement.excess(), pairs="all")
    less = {row["control"]: row for row in measurement.aimed().filter(pairs="all").to_dicts()}
    assert excess["low"] > 0.05  # both networks move far beyond random signs
    assert less["same-class transplant"]["aimed"] == 0  # the pattern is that of its class
    reseeded = less["reseeded noise"]
    assert abs(reseeded["aimed"] - excess["excess"]) < 3 * reseeded["spread"] + 0.01
    if aimed:
        for control in (
            "shifted",
            "other-class transplant",
            "spectrum noise",
            "aimed at the class",
        ):
            assert less[control]["low"] > 0.05
    else:
        for control in ("shifted", "other-class transplant", "aimed at the class"):
            assert less[control]["low"] <= 0 <= less[control]["high"]
    (said,) = (each.opening for each in conclusions(measurement.frames) if each.title == "Scale")
    assert ("that is aimed at the image" in said) == aimed
    assert ("any smooth change" in said) != aimed
    for sentence in (said, *opening(measurement.frames).lead):
        assert "noise" not in sentence  # which control is meant is said

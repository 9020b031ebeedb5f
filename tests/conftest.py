"""Networks that tests share: tiny ones, and timm's families at a small input size."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before PyTorch is loaded

import gc
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import hypothesis
import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import lookaway as la
from lookaway.models.classifier import Classifier
from networks import narrow_vgg
from oracles import enliven, pixels
from resamples import few_resamples
from shared_runs import made_once

hypothesis.settings.register_profile("the same every time", derandomize=True, deadline=None)
hypothesis.settings.load_profile("the same every time")

gc.set_threshold(100_000, 20, 20)  # thousands of tests are alive, and are looked through each time

# Files that take longest: begun last, they would leave the other processes idle.
_FIRST = ("test_page.py", "test_on_ray.py", "test_readme.py", "test_run.py", "test_report.py")
_FIRST += ("test_wheel.py", "test_kills.py", "test_streamed.py", "test_figures.py")


@pytest.fixture(autouse=True, scope="session")
def resamples():
    """Few; tests of what the intervals are take them all."""
    with few_resamples():
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """One more than there are processors, for some wait for a browser or for Ray; four at most."""
    return min(4, 1 + (os.cpu_count() or 1))


def pytest_collection_modifyitems(items):
    """The longest files first, for several processes; within a file the order stays."""
    order = {name: place for place, name in enumerate(_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


NUM_CLASSES = 7
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _global_average(maps: Tensor) -> Tensor:
    return maps.mean(dim=(2, 3))


def _max_pool(maps: Tensor) -> Tensor:
    return F.max_pool2d(maps, 2)


@dataclass(frozen=True)
class Family:
    """A family of networks.

    Attributes:
        name: of the architecture.
        clf: random weights, norm layers that do something, in-place activations as they come.
        images: three images of the size that the network takes.
        last: the name that ``last`` must give.
        pool: from the output of ``last`` to what the head gets.
        head: the module that gets it.
    """

    name: str
    clf: Classifier
    images: Tensor
    last: str
    pool: Callable[[Tensor], Tensor]
    head: str


_FAMILIES = {
    "resnet50": (64, "layer4.2", _global_average, "fc"),
    "vgg16": (64, "features.29", _max_pool, "pre_logits"),
    "inception_v3": (128, "Mixed_7c", _global_average, "fc"),
    "legacy_xception": (96, "act4", _global_average, "fc"),
    "densenet121": (64, "features.norm5", _global_average, "classifier"),
    "convnext_atto": (64, "stages.3", _global_average, "head.norm"),
    "efficientnet_b0": (64, "bn2", _global_average, "classifier"),
}


@pytest.fixture(scope="session", params=list(_FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    name = request.param
    size, last, pool, head = _FAMILIES[name]
    network = (
        narrow_vgg(16, NUM_CLASSES)
        if name == "vgg16"
        else timm.create_model(name, pretrained=False, num_classes=NUM_CLASSES)
    )
    network = enliven(network.eval(), seed=1 if name == "resnet50" else 0)  # most maps are alive
    clf = Classifier(network, mean=MEAN, std=STD, input_size=size)
    return Family(name, clf, pixels(3, 3, size, size, seed=1), last, pool, head)


class TinyNet(nn.Module):
    """Two convolutions with in-place activations; logits depend smoothly on every pixel."""

    def __init__(self, num_classes: int = 4, *, inplace: bool = True) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.SiLU(inplace=inplace),
            nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=inplace),
        )
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(self.trunk(x).mean(dim=(2, 3))))


@pytest.fixture
def tiny_net() -> Callable[..., nn.Module]:
    """Make a seeded ``TinyNet``: ``tiny_net(seed=0, num_classes=4)``."""

    def make(seed: int = 0, num_classes: int = 4) -> nn.Module:
        return enliven(TinyNet(num_classes), seed)

    return make


@pytest.fixture
def tiny(tiny_net: Callable[..., nn.Module]) -> Classifier:
    """A ``TinyNet`` for images of 16 px, four classes."""
    return Classifier(tiny_net(), mean=MEAN, std=STD, input_size=16)


class OnPaper(nn.Module):
    """Two layers whose numbers fit on paper.

    Channel 0 is max(0, red − green), channel 1 is blue; the logits are 2·m₀ − m₁ and −m₀ + 3·m₁,
    m being the channels' means over space.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        self.act = nn.ReLU(inplace=True)
        self.fc = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            rows = torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
            self.conv.weight.copy_(rows[:, :, None, None])
            self.fc.weight.copy_(torch.tensor([[2.0, -1.0], [-1.0, 3.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.act(self.conv(x)).mean(dim=(2, 3)))


@pytest.fixture
def on_paper() -> Classifier:
    return Classifier(OnPaper())


@pytest.fixture
def paper_image() -> Tensor:
    """(1, 3, 2, 2): red is above green, below, above, equal; blue is zero at the fourth place."""
    red = [[0.9, 0.1], [0.5, 0.4]]
    green = [[0.1, 0.6], [0.1, 0.4]]
    blue = [[0.2, 0.8], [0.8, 0.0]]
    return torch.tensor([[red, green, blue]])


def _draw_faces(root):
    """Three classes of eight images: noise over a bright patch in a place of its own."""
    random = np.random.default_rng(0)
    for place, label in enumerate(["ann", "bob", "cy"]):
        (root / label).mkdir(parents=True)
        for index in range(8):
            pixels = random.integers(0, 120, (32, 40, 3), dtype=np.uint8)
            pixels[8:24, 4 + 10 * place : 16 + 10 * place] += 130
            Image.fromarray(pixels).save(root / label / f"{index}.png")
    return root


@pytest.fixture
def faces(tmp_path):
    """An image folder that a test may change."""
    return _draw_faces(tmp_path / "faces")


@pytest.fixture(scope="session")
def faces_for_all(tmp_path_factory):
    """The same folder for tests that only read it."""
    return made_once(tmp_path_factory, "faces", _draw_faces)


@pytest.fixture(scope="session")
def small_study(faces_for_all):
    """A study of two tiny networks that takes seconds."""
    tiny = {"pretrained": False, "train": "head", "input_size": 64}
    return {
        "data": {
            "folder": str(faces_for_all),
            "image_size": 64,
            "split": {"train": 0.5, "val": 0.25, "test": 0.25, "seed": 0},
        },
        "models": [
            {"name": "one", "timm": "test_resnet", **tiny},
            {"name": "two", "timm": "test_efficientnet", **tiny},
        ],
        "training": {"epochs": 5},
        "transfer_from": ["one"],
        "epsilons": [0.02, 0.1],
        "explain": {"pictured": 6},
        "measure": {"grid": 32},
    }


@pytest.fixture(scope="session")
def grey_run(small_study, tmp_path_factory):
    """A finished run on pixels of one channel."""
    untrained = {**small_study["models"][0], "train": "none"}
    study = {
        **small_study,
        "data": {**small_study["data"], "channels": 1},
        "models": [untrained],
        "explain": {"pictured": 3},
    }
    folder = made_once(
        tmp_path_factory, "grey", lambda out: la.run_study(study, out, progress=False)
    )
    return la.open_result(folder)


@pytest.fixture(scope="session")
def s3_server():
    """An S3 server on loopback, in threads of this process; its environment is set."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_"))]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "a-key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def make_bucket(s3_server):
    """Make a new, empty bucket; its path."""
    import fsspec

    from lookaway.places import to_path

    def make():
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        fsspec.filesystem("s3").call_s3("create_bucket", Bucket=name)
        return to_path(f"s3://{name}")

    return make


@pytest.fixture
def bucket(make_bucket):
    """The path of a new, empty bucket."""
    return make_bucket()


@pytest.fixture
def connect_anew(s3_server):
    """Forget connections, which keep the credentials and the server that they were made with."""
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    yield S3FileSystem.clear_instance_cache
    S3FileSystem.clear_instance_cache()

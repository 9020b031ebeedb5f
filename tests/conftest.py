"""What tests share.

Whatever takes seconds to import is imported by the fixtures that need it: with several processes,
the one that only hands out tests does without.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before PyTorch is loaded

import gc
import logging
import random
import sys
import uuid

import hypothesis
import numpy as np
import pytest
from PIL import Image

import lookaway as la
from shared_runs import made_once

hypothesis.settings.register_profile("the same every time", derandomize=True, deadline=None)
hypothesis.settings.load_profile("the same every time")

gc.set_threshold(100_000, 20, 20)  # thousands of tests are alive, and are looked through each time

# Files that take longest: begun last, they would leave the other processes idle.
_FIRST = ("test_page.py", "test_readme.py", "test_run.py", "test_report.py", "test_streamed.py")
_FIRST += ("test_figures.py", "test_kernel.py", "test_hostile.py", "test_cli.py", "test_threads.py")


@pytest.fixture(autouse=True, scope="session")
def resamples():
    """Few; tests of what the intervals are take them all."""
    from resamples import few_resamples

    with few_resamples():
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """As many as there are processors, from two to four: each takes 15 s to collect the tests."""
    return max(2, min(4, os.cpu_count() or 1))


def pytest_collection_modifyitems(items):
    """The longest files first, for several processes; within a file the order stays."""
    order = {name: place for place, name in enumerate(_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


def _seed_everything():
    """The generators, as far as they are loaded; ``TEST_SEED=1`` tries other numbers."""
    seed = int(os.environ.get("TEST_SEED", "0"))
    random.seed(seed)
    np.random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Before fixtures: what a test draws depends neither on other tests nor on the process."""
    _seed_everything()


@pytest.hookimpl(tryfirst=True)
def pytest_make_collect_report():
    """Before a module is imported: the same holds for what it draws there."""
    _seed_everything()


FAMILIES = ["resnet50", "vgg16", "inception_v3", "legacy_xception", "densenet121"]
FAMILIES += ["convnext_atto", "efficientnet_b0"]


@pytest.fixture(scope="session", params=FAMILIES)
def family(request):
    """A ``networks.Family``."""
    from networks import family_of

    return family_of(request.param)


@pytest.fixture
def tiny_net():
    """Make a seeded ``TinyNet``: ``tiny_net(seed=0, num_classes=4)``."""
    from networks import TinyNet
    from oracles import enliven

    return lambda seed=0, num_classes=4: enliven(TinyNet(num_classes), seed)


@pytest.fixture
def tiny(tiny_net):
    """A ``TinyNet`` for images of 16 px, four classes."""
    from lookaway.models.classifier import Classifier
    from networks import MEAN, STD

    return Classifier(tiny_net(), mean=MEAN, std=STD, input_size=16)


@pytest.fixture
def on_paper():
    """Its ``OnPaper``, whose numbers fit on paper."""
    from lookaway.models.classifier import Classifier
    from networks import OnPaper

    return Classifier(OnPaper())


@pytest.fixture
def paper_image():
    """(1, 3, 2, 2): red is above green, below, above, equal; blue is zero at the fourth place."""
    import torch

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
        "controls": {"shifted": 0},
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

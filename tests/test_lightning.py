"""The monitor as a callback of Lightning's, and what it leaves in TensorBoard."""

import pickle
import sys

import pytest
import torch
import torch.nn.functional as F

import lookaway as la
from lookaway.errors import InputError, PackageError
from networks import MEAN, STD
from oracles import pixels

pl = pytest.importorskip("pytorch_lightning")
accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

IMAGES, LABELS = pixels(8, 3, 16, 16), torch.tensor([0, 1, 2, 3] * 2)
READ = {"mean": MEAN, "std": STD, "grid": 32, "batch_size": 8, "pictured": 2}


class Module(pl.LightningModule):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def training_step(self, batch, _place):
        images, labels = batch
        return F.cross_entropy(self.net(images), labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.net.parameters(), lr=0.01)


def fit(net, callback, folder, **options):
    logger = pl.loggers.TensorBoardLogger(folder, name="", version="")
    data = torch.utils.data.TensorDataset(IMAGES, LABELS)
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=logger,
        callbacks=[callback],
        max_epochs=2,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(Module(net), torch.utils.data.DataLoader(data, batch_size=2))
    events = accumulator.EventAccumulator(str(folder), {"images": 0, "scalars": 0})
    events.Reload()
    return trainer, events


@pytest.fixture(autouse=True)
def quiet(recwarn):
    """Lightning warns of few workers, of small data and of CPUs."""


def test_it_logs_numbers_and_pictures_to_tensorboard_at_the_steps_that_are_due(tiny_net, tmp_path):
    monitor = la.ShiftMonitor((IMAGES, LABELS), la.FGSM(), 0.05, every=3, **READ)
    net = tiny_net()
    first = dict(monitor.measure(net))
    trainer, events = fit(net, monitor.callback(network="net"), tmp_path)
    last = dict(monitor.measure(net))
    assert set(first) == {tag.removeprefix("shift/") for tag in events.Tags()["scalars"]} - {
        "epoch",
        "hp_metric",
    }
    for name, value in first.items():
        logged = events.Scalars(f"shift/{name}")
        assert [event.step for event in logged] == [0, 3, 6]  # of 2 epochs of 4 steps
        assert logged[0].value == pytest.approx(value, abs=1e-6)
    pictures = events.Images("shift/picture")
    assert [event.step for event in pictures] == [0, 3, 6]
    assert (pictures[0].width, pictures[0].height) == (2 * 132 - 4, 3 * 132 - 4)
    assert set(last) <= {name.removeprefix("shift/") for name in trainer.callback_metrics}


def test_it_counts_epochs_and_steps_of_several_batches(tiny_net, tmp_path):
    monitor = la.ShiftMonitor((IMAGES, LABELS), la.FGSM(), 0.05, **READ)
    callback = monitor.callback("epoch", network="net", prefix="")
    trainer, events = fit(tiny_net(), callback, tmp_path / "epoch")
    assert [event.step for event in events.Scalars("mod")] == [0, 4, 8]
    assert trainer.callback_metrics["mod"] == pytest.approx(events.Scalars("mod")[-1].value)
    callback = monitor.callback(network="net", prefix="")
    _, events = fit(tiny_net(), callback, tmp_path / "step", accumulate_grad_batches=2)
    assert [event.step for event in events.Scalars("mod")] == [0, 1, 2, 3, 4]


def test_it_goes_to_other_processes_and_says_what_it_lacks(tiny_net, tmp_path, monkeypatch):
    monitor = la.ShiftMonitor((IMAGES, LABELS), la.FGSM(), 0.05, **READ)
    twin = pickle.loads(pickle.dumps(monitor.callback(network="net")))
    assert isinstance(twin, pl.Callback)
    with pytest.raises(InputError, match=r"network='model' is no part of Module; it has: net"):
        fit(tiny_net(), monitor.callback(network="model"), tmp_path)
    with pytest.raises(InputError, match="possible: step, epoch"):
        monitor.callback("batch")
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PackageError, match="pip install lightning"):
        monitor.callback()


def test_pictures_go_to_weights_and_biases_and_to_mlflow_in_their_ways():
    from PIL import Image

    from lookaway.lightning import _show

    class WandB:
        def log_image(self, key, images, step):
            told.append((key, images, step))

    class Client:
        def log_image(self, run_id, image, key, step):
            told.append((run_id, image, key, step))

    class MLFlow:
        run_id, experiment = "run", Client()

    told, picture = [], Image.new("RGB", (2, 2))
    _show(WandB(), "picture", picture, 3)
    _show(MLFlow(), "picture", picture, 3)
    _show(object(), "picture", picture, 3)  # a logger that has no way to
    assert told == [("picture", [picture], 3), ("run", picture, "picture", 3)]

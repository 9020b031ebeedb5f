"""Where a network's weights come from: a checkpoint, and the epochs of a training. No PyTorch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """What of a checkpoint a network holds.

    Attributes:
        taken: where the weights lay in the file, such as ``state_dict_ema``; empty: at its top.
        averaged: whether they are averaged over the training.
        left: where other weights lie that were not taken.
        prefix: what was taken off before the names of all weights; mostly empty.
        new_head: whether the file has no classification layer, so that the network's is new.
    """

    taken: str
    averaged: bool
    left: tuple[str, ...]
    prefix: str = ""
    new_head: bool = False


@dataclass(frozen=True)
class Epoch:
    """Loss (cross-entropy, mean) and accuracy (0 to 1) of one epoch, from 1.

    Where there is an adversary, those of training are of what it made of the images. In epochs in
    which that was checked, ``met_accuracy`` is that on validation images that it attacks in the
    same way, and the robust ones on such that are attacked more strongly.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    met_accuracy: float | None = None
    robust_loss: float | None = None
    robust_accuracy: float | None = None

    @property
    def rank(self) -> tuple[float, float, int]:
        """The smallest is the best epoch's, of those that were checked alike."""
        if self.robust_accuracy is not None and self.robust_loss is not None:
            return -self.robust_accuracy, self.robust_loss, self.epoch
        return -self.val_accuracy, self.val_loss, self.epoch

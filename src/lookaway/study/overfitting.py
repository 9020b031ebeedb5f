"""What is doubtful about an adversarial training, in sentences."""

from lookaway.study.json_files import TrainedModel
from lookaway.study.keys import trained_name


def doubts(trained: TrainedModel, classes: int) -> list[str]:
    """Catastrophic overfitting, and a network that withstands no more than guessing.

    Args:
        trained: how the network was trained.
        classes: how many there are.
    """
    robust = trained.robust_accuracy
    if robust is None:
        return []
    name, lines = trained_name(trained.model, trained.variant), []
    if trained.overfitted is not None:
        before, after = trained.overfitted
        lines.append(
            f"{name}: catastrophic overfitting from epoch {after.epoch} on: accuracy under PGD on "
            f"validation images fell from {before.robust_accuracy:.1%} (epoch {before.epoch}) to "
            f"{after.robust_accuracy:.1%}, while that on the attacked training images rose from "
            f"{before.train_accuracy:.1%} to {after.train_accuracy:.1%}: it learnt to defeat the "
            f"attack that it was trained with alone. Epoch {trained.best_epoch} is kept, the best "
            "one checked; a smaller ε or step, or attack: pgd, helps"
        )
    if robust <= 1 / classes:
        lines.append(
            f"{name}: trained adversarially, but right on {robust:.1%} of the validation images "
            f"under PGD, which guessing is too ({1 / classes:.1%}): it withstands nothing"
        )
    return lines

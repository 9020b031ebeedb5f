"""What is doubtful about an adversarial training, in sentences."""

from lookaway.study.json_files import TrainedModel
from lookaway.study.keys import trained_name
from lookaway.written import percent


def doubts(trained: TrainedModel, classes: int) -> list[str]:
    """Catastrophic overfitting, and a network that withstands no more than guessing."""
    robust = trained.robust_accuracy
    if robust is None:
        return []
    name, lines = trained_name(trained.model, trained.variant), []
    if (seen := trained.overfitted) is not None:
        lines.append(
            f"{name}: catastrophic overfitting in epoch {seen.epoch}: "
            f"{percent(seen.met_accuracy, 1)} of the validation images are right under the attack "
            "that it was trained with, and "
            f"{percent(seen.robust_accuracy, 1)} under PGD: it learnt to defeat that attack alone. "
            f"Epoch {trained.best_epoch} is kept, the best one checked ({percent(robust, 1)} under "
            "PGD); a smaller ε or step, or attack: pgd, helps"
        )
    if robust <= 1 / classes:
        lines.append(
            f"{name}: trained adversarially, but right on {percent(robust, 1)} of the validation "
            f"images under PGD, which guessing is too ({percent(1 / classes, 1)}): it withstands "
            "nothing"
        )
    return lines

"""Numbers from pairs of tensors, and metrics of torchmetrics that take pairs in batches.

The latter are loaded when they are first used, so that nothing else here needs torchmetrics.
"""

from typing import TYPE_CHECKING, Any

from lookaway.errors import PackageError

if TYPE_CHECKING:
    from lookaway.metrics.torch_metrics import (
        NISSIM,
        ExcessShift,
        MeanObservedDissimilarity,
        VariationInDissimilarity,
    )

__all__ = ["NISSIM", "ExcessShift", "MeanObservedDissimilarity", "VariationInDissimilarity"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'lookaway.metrics' has no attribute {name!r}")
    try:
        from lookaway.metrics import torch_metrics
    except ModuleNotFoundError as error:
        if error.name != "torchmetrics":
            raise
        raise PackageError(
            f"lookaway.metrics.{name} needs torchmetrics, which is not installed; "
            "`pip install 'lookaway[metrics]'` brings it"
        ) from error
    return getattr(torch_metrics, name)

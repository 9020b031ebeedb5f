"""Networks whose position embeddings are of one size of images, brought to another as timm does."""

import warnings

from torch import nn

from lookaway.errors import ModelError


def bring_to(module: nn.Module, name: str, input_size: int | None, *, fixed: bool = True) -> bool:
    """Bring a network to another size; whether it was done.

    Args:
        module: timm's, changed in place: position embeddings are resampled.
        name: for the error.
        input_size: side in px; None: as it is.
        fixed: only one that takes no images of another size than its own.

    Raises:
        ModelError: it cannot be of that size.
    """
    patches = getattr(module, "patch_embed", None)
    sides = getattr(patches, "img_size", None)
    if not input_size or sides is None or tuple(sides) == (input_size, input_size):
        return False
    if not hasattr(module, "set_input_size") or (
        fixed and not getattr(patches, "strict_img_size", False)
    ):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own code that resamples
            module.set_input_size(img_size=(input_size, input_size))  # type: ignore[operator]
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"{name!r} is of {sides[0]} px, and input_size {input_size} does not suit it: {error}"
        ) from error
    return True

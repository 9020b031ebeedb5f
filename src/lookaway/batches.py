"""What is measured in memory, as batches of pixels and places of classes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from lookaway.data.dataset import classes_of
from lookaway.data.pixels import as_8_bit, as_floats, channels_last
from lookaway.errors import DataError, InputError, shown

IMAGES_AT_ONCE = 64  # whose maps lie in memory


class Tensors(Dataset[tuple[Tensor, Any]]):
    """A dataset's items as float tensors (C, H, W) and places of classes.

    Args:
        dataset: of pairs of an image and its label.
        classes: names in the order of the logits; None: the dataset's, where its labels are names.
        channels: of the pixels, 1 or 3, of what is no float tensor.
    """

    def __init__(self, dataset: Dataset[Any], classes: Sequence[str] | None, channels: int) -> None:
        self._dataset, self._mode = dataset, "L" if channels == 1 else "RGB"
        named = classes is None and len(self) > 0 and isinstance(self._item(0)[1], str)
        self.classes = classes_of(dataset) if named else classes

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]  # a map-style one has a length

    def _item(self, place: int) -> tuple[Any, Any]:
        item = self._dataset[place]
        if not isinstance(item, Sequence) or len(item) != 2:
            raise InputError(
                f"item {place} of the dataset is a {type(item).__name__}; give pairs of an image "
                "and its label"
            )
        return item[0], item[1]

    def __getitem__(self, place: int) -> tuple[Tensor, Any]:
        image, label = self._item(place)
        if not (isinstance(image, Tensor) and image.is_floating_point()):
            try:
                grid = channels_last(as_8_bit(image).convert(self._mode))
            except DataError as error:
                raise InputError(f"item {place} of the dataset is {error}") from error
            image = torch.from_numpy(as_floats([grid]))[0]
        if isinstance(label, str):
            if label not in (self.classes or ()):
                raise InputError(
                    f"the label of item {place} of the dataset is {label!r}, and classes are "
                    f"{shown(str(self.classes), 100)}; give a name for each logit, in order"
                )
            label = list(self.classes or ()).index(label)
        return image, label


def _joined(items: list[tuple[Tensor, Any]]) -> list[Tensor]:
    """Items as a batch."""
    sizes = {tuple(image.shape) for image, _ in items}
    if len(sizes) > 1:
        raise InputError(
            f"images of a batch differ in shape: {', '.join(map(str, sorted(sizes)[:3]))}; resize "
            "them in the dataset, or give batch_size=1"
        )
    batch: list[Tensor] = default_collate(items)
    return batch


def batches(
    images: Tensor | Dataset[Any] | Iterable[Any], labels: Tensor | None, size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels and labels, a few batches at a time."""
    if isinstance(images, Tensor):
        if labels is None:
            raise InputError("labels must be given beside a tensor of images")
        if images.ndim == 0 or len(labels) != len(images):
            raise InputError(
                f"there are {len(labels)} labels for images {tuple(images.shape)}; give one each"
            )
        at_once = max(1, IMAGES_AT_ONCE // size) * size
        yield from zip(torch.split(images, at_once), torch.split(labels, at_once), strict=True)
        return
    if labels is not None:
        raise InputError("labels come with a dataset or loader; give them beside a tensor only")
    loader: Iterable[Any]
    if isinstance(images, Dataset):
        join = _joined if isinstance(images, Tensors) else None
        loader = DataLoader(images, batch_size=size, collate_fn=join)
    else:
        loader = images
    for batch in loader:
        if not (isinstance(batch, Sequence) and len(batch) == 2):
            raise InputError(
                f"a batch must be a pair of images and labels; got {type(batch).__name__}"
            )
        yield torch.as_tensor(batch[0]), torch.as_tensor(batch[1])

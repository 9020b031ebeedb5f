"""The pictured images of a run: pixels, perturbations and native maps, read from its store."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np
import polars as pl
from PIL import Image

from lookaway.analysis.frames import Frames
from lookaway.data.pixels import channels_last
from lookaway.errors import StoreError
from lookaway.hashing import random_signs
from lookaway.perturbation import Perturbation
from lookaway.study.keys import CellKey, map_key, picture_name
from lookaway.study.thumbnails import name_of


@dataclass(frozen=True)
class Placed:
    """One test image.

    Attributes:
        image: its name.
        label: its true class.
        shard: of the test images.
        place: in its shard.
    """

    image: str
    label: str
    shard: int
    place: int


@dataclass(frozen=True)
class Pictured(Placed):
    """One pictured image.

    Attributes:
        pixels: (H, W, C) uint8, on the study's grid; C is 3, or 1 for grey.
        pictured_place: among the pictured images of its shard.
    """

    pixels: np.ndarray
    pictured_place: int

    @property
    def rgb(self) -> np.ndarray:
        """(H, W, 3) float64 in [0, 1]: what it looks like."""
        return np.broadcast_to(self.pixels / 255.0, (*self.pixels.shape[:2], 3))


class PicturedImages:
    """Everything that a run stores of its pictured images, one of each class in turn.

    Attributes:
        variant: of the images.
        images: the pictured ones.
        small: those with a small copy, of the study's first variant, in the order of the file.

    Raises:
        StoreError: a file is missing or damaged.
    """

    def __init__(self, frames: Frames, variant: str | None = None) -> None:
        self._frames = frames
        self._store = frames.store
        self.variant = variant or frames.variants[0]
        self._seed: int = frames.settings.data.split.seed
        with self._readable():
            self.images, self.small = self._find()
        # The arrays of one cell at a time: callers go model by model, shard by shard.
        self._maps = lru_cache(maxsize=1)(self._store.read_maps)
        self._perturbations = lru_cache(maxsize=2)(self._store.read_perturbations)

    def clean_map(self, image: Placed, model: str, layer: str, policy: str) -> np.ndarray:
        """(h, w) float16: the clean image's native map ÷ its maximum; zeros where dead."""
        with self._readable():
            return self._map(image, model, layer, "clean", policy)

    def attacked_maps(
        self,
        image: Placed,
        model: str,
        layer: str,
        policy: str,
        attack: str,
        source: str | None,
    ) -> np.ndarray:
        """(E, h, w) float16: the attacked images' native maps ÷ their maxima, one for each ε."""
        with self._readable():
            return self._map(image, model, layer, "attacked", policy, attack, source)

    def perturbation(self, image: Pictured, attack: str, source: str | None) -> Perturbation:
        """What an attack changes in the image; ``source`` None for noise."""
        pixels = image.pixels.transpose(2, 0, 1)
        with self._readable():
            if source is None:
                floats = pixels.astype(np.float32) / np.float32(255)
                signs = random_signs(self._seed, floats)[None]
                return Perturbation.of_signs(signs, self._frames.plan.norm)
            place = image.place if source in self._frames.sources else image.pictured_place
            stored = self._perturbations(self._key(source, image), pixels.shape)[attack]
            return stored.of([place])

    def attacked(
        self, image: Pictured, attack: str, source: str | None, epsilon: float
    ) -> np.ndarray:
        """(H, W, 3) float64 in [0, 1]: the attacked image; ε = 0 is the clean one."""
        if epsilon == 0:
            return image.rgb
        return self._changed(image, self.perturbation(image, attack, source), epsilon)

    def under_noise(self, image: Pictured, attack: str, model: str, epsilon: float) -> np.ndarray:
        """(H, W, 3) float64 in [0, 1]: the image under the noise of a model's own attack."""
        change = self.perturbation(image, attack, None)
        if attack in self._frames.plan.own_size:
            signs = np.sign(change.codes[:, 0])
            change = self.perturbation(image, attack, model).with_signs(signs)
        return self._changed(image, change, epsilon)

    def _changed(self, image: Pictured, change: Perturbation, epsilon: float) -> np.ndarray:
        clean = image.pixels.transpose(2, 0, 1)[None] / 255.0
        changed = change.attacked(clean, self._frames.epsilons.index(epsilon), epsilon)[0]
        return np.broadcast_to(changed.transpose(1, 2, 0), image.rgb.shape)

    def _map(
        self, image: Placed, model: str, layer: str, kind: str, policy: str, *made_by: str | None
    ) -> np.ndarray:
        key = map_key(kind, self._frames.method, policy, layer, *made_by)
        last = self._frames.plan.last_layers[model]
        place = image.place
        if isinstance(image, Pictured) and layer != last:
            place = image.pictured_place
        found: np.ndarray = self._maps(self._key(model, image))[key][place]
        return found

    def _key(self, model: str, image: Placed) -> CellKey:
        return self._store.identity.cell(self.variant, model, image.shard)

    def thumbnails(self) -> bytes:
        """The file of the small copies."""
        frames = self._frames
        name = name_of(self._store.identity, frames.variants[0], frames.small)
        with self._readable():
            return (self._store.folder / name).read_bytes()

    def _find(self) -> tuple[list[Pictured], list[Placed]]:
        test = self._store.samples_of("test", self.variant)
        images, labels = test["image"].to_list(), test["label"].to_list()
        placed = {
            images[index]: Placed(images[index], labels[index], shard, place)
            for shard, indices in enumerate(self._store.identity.shards(self.variant))
            for place, index in enumerate(indices)
        }
        shown = test.filter("pictured").sort(pl.col("image").rank("ordinal").over("label"), "label")
        small = self._frames.small["image"] if self.variant == self._frames.variants[0] else ()
        pictured = [
            self._read(placed[name], sha256)
            for name, sha256 in shown.select("image", "sha256").iter_rows()
        ]
        return pictured, [placed[name] for name in small]

    def _read(self, image: Placed, sha256: str) -> Pictured:
        identity = self._store.identity
        path = self._store.folder / picture_name(identity.preparation(self.variant), sha256)
        with Image.open(BytesIO(path.read_bytes()), formats=("PNG",)) as stored:
            pixels = channels_last(stored if stored.mode == "L" else stored.convert("RGB"))
        pictured = identity.pictured(self.variant, image.shard).index(image.place)
        return Pictured(image.image, image.label, image.shard, image.place, pixels, pictured)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, LookupError, ValueError) as error:
            raise StoreError(
                f"what {str(self._store.folder)!r} stores for the pictures is missing or damaged "
                f"({error}); run the study again, and only that is made again"
            ) from error

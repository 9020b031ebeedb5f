"""Faces found by scikit-image's cascade for faces seen from the front; it ships with it."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lookaway.data.pose import MARGIN, Pose, around
from lookaway.errors import InputError
from lookaway.hashing import digest

_LONGER = (160, 640)  # px: an image's longer side is brought into these bounds before the search
_PADDING = 0.2  # of the shorter side, edges repeated: room around faces that fill the image
_SMALLEST = 0.15  # of the shorter side: narrower faces are not looked for, nor any under 24 px
_SCALE_STEP = 1.1  # from one size of the search window to the next
_APART = 0.2  # of the narrower: windows whose sides lie nearer to each other see one face
_WINDOWS = 4  # that must see a face
_MOST = 2000  # windows, the largest, that are looked at: bounds memory on pictures of pure texture


class CascadeAligner:
    """The largest face that a cascade on local binary patterns sees, with a margin; nothing turned.

    Of faces of one size the uppermost counts, then the leftmost. The same pixels give the same pose
    whatever the number of threads.

    Args:
        margin: how much wider the square is at each side, as a share of the face's side.
    """

    name = "cascade"
    needs_pixels = True

    def __init__(self, margin: float = MARGIN) -> None:
        from skimage.data import lbp_frontal_face_cascade_filename
        from skimage.feature import Cascade

        trained = Path(lbp_frontal_face_cascade_filename())
        self._cascade = Cascade(str(trained))
        self.about: dict[str, Any] = {
            "aligner": self.name,
            "version": 1,
            "cascade": digest(trained.read_bytes()),
            "longer_side": list(_LONGER),
            "padding": _PADDING,
            "smallest": _SMALLEST,
            "scale_step": _SCALE_STEP,
            "apart": _APART,
            "windows": _WINDOWS,
            "most": _MOST,
            "margin": margin,
        }

    def find(self, image_name: str, pixels: np.ndarray | None) -> Pose | None:
        """Find the largest face in pixels (H, W, 3) uint8, RGB, upright.

        Returns:
            The square around it, or None where there is no face.
        """
        if pixels is None:
            raise InputError(f"the cascade needs the pixels of {image_name!r}; None was given")
        image = Image.fromarray(pixels).convert("L")
        longer = max(image.size)
        factor = min(max(longer, _LONGER[0]), _LONGER[1]) / longer
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        if size != image.size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        padding = round(_PADDING * min(size))
        grey = np.pad(np.asarray(image), padding, mode="edge")
        faces = self._faces(grey, max(24.0, _SMALLEST * min(size)))
        if not len(faces):
            return None
        left, top, side = min(faces, key=lambda face: (-face[2], face[1], face[0]))
        across, down = pixels.shape[1] / size[0], pixels.shape[0] / size[1]
        box = ((left - padding) * across, (top - padding) * down, side * across, side * down)
        x, y, edge = (float(number) for number in around(*box, self.about["margin"]))
        return Pose(x, y, edge, 0.0)

    def _faces(self, grey: np.ndarray, smallest: float) -> list[tuple[float, float, float]]:
        """Left, top and side of each face: the mean of windows that chains of neighbours join.

        scikit-image's own grouping depends on the order of windows, which threads may change where
        it is built with OpenMP; a threshold that no overlap reaches makes it give every window.
        """
        from scipy.sparse.csgraph import connected_components

        windows = self._cascade.detect_multi_scale(
            grey,
            scale_factor=_SCALE_STEP,
            step_ratio=1.0,
            min_size=(smallest, smallest),
            max_size=grey.shape,
            min_neighbor_number=1,
            intersection_score_threshold=2.0,
        )
        squares = sorted((-w["width"], w["r"], w["c"]) for w in windows)[:_MOST]
        if len(squares) < _WINDOWS:
            return []
        side, top, left = np.array(squares, dtype=np.float32).T
        side = -side
        near = _APART * np.minimum(side[:, None], side[None, :])
        one = np.ones(near.shape, dtype=bool)
        for edge in (left, top, left + side, top + side):
            one &= np.abs(edge[:, None] - edge[None, :]) <= near
        count, group = connected_components(one, directed=False)
        members = [group == index for index in range(count)]
        return [
            (float(left[m].mean()), float(top[m].mean()), float(side[m].mean()))
            for m in members
            if m.sum() >= _WINDOWS
        ]

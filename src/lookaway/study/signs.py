"""Signs at two bits each: a source's perturbations, stored once for every ε and every target."""

import numpy as np


def pack_signs(signs: np.ndarray) -> np.ndarray:
    """Pack signs, four to a byte.

    Args:
        signs: (N, …) int8: −1, 0 or 1.

    Returns:
        (N, ⌈size / 4⌉) uint8.
    """
    codes = (signs.reshape(len(signs), -1) + 1).astype(np.uint8)
    quads = np.pad(codes, ((0, 0), (0, -codes.shape[1] % 4))).reshape(len(signs), -1, 4)
    return quads[..., 0] | quads[..., 1] << 2 | quads[..., 2] << 4 | quads[..., 3] << 6


def unpack_signs(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Undo ``pack_signs``.

    Args:
        packed: (N, ⌈size / 4⌉) uint8.
        shape: of one image's signs.

    Returns:
        (N, *shape) int8.

    >>> signs = np.array([[[-1, 0, 1], [1, 1, -1]]], dtype=np.int8)
    >>> np.array_equal(unpack_signs(pack_signs(signs), (2, 3)), signs)
    True
    """
    codes = np.stack([packed >> shift & 3 for shift in (0, 2, 4, 6)], axis=-1)
    flat = codes.reshape(len(packed), -1)[:, : int(np.prod(shape))]
    return flat.reshape(len(packed), *shape).astype(np.int8) - np.int8(1)

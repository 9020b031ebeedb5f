"""The kinds of class activation maps: slow, obvious formulas, and a library's classes."""

from dataclasses import dataclass

import numpy as np
import pytorch_grad_cam as peers


def _gradcam(a, g):
    return (g.mean(axis=(1, 2))[:, None, None] * a).sum(axis=0)


def _gradcam_plus_plus(a, g):
    weights = np.zeros(len(a))
    for c in range(len(a)):
        for place in np.ndindex(a.shape[1:]):
            one = g[c][place]
            if one > 0:
                weights[c] += one**2 / (2 * one**2 + one**3 * a[c].sum()) * one
    return (weights[:, None, None] * a).sum(axis=0)


def _xgradcam(a, g):
    weights = [(a[c] * g[c]).sum() / a[c].sum() if a[c].sum() else 0.0 for c in range(len(a))]
    return (np.array(weights)[:, None, None] * a).sum(axis=0)


def _eigencam(a, _):
    places = a.reshape(len(a), -1).T
    places = places - places.mean(axis=0)
    along = places @ np.linalg.svd(places)[2][0]
    return (along if along.max() >= -along.min() else -along).reshape(a.shape[1:])


@dataclass(frozen=True)
class Kind:
    """``formula`` is of one image: (C, h, w) activations and gradients; a map before ReLU."""

    formula: object
    peer: type


KINDS = {
    "gradcam": Kind(_gradcam, peers.GradCAM),
    "gradcam++": Kind(_gradcam_plus_plus, peers.GradCAMPlusPlus),
    "hirescam": Kind(lambda a, g: (a * g).sum(axis=0), peers.HiResCAM),
    "xgradcam": Kind(_xgradcam, peers.XGradCAM),
    "layercam": Kind(lambda a, g: (a * g.clip(min=0)).sum(axis=0), peers.LayerCAM),
    "eigencam": Kind(_eigencam, peers.EigenCAM),
}

"""The verification of faces under attack, in memory."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lookaway.analysis.verification import CLEAN, Comparisons, Setting
from lookaway.attacks.base import Attack, norm_of
from lookaway.attacks.fgsm import FGSM
from lookaway.attacks.noise import SignNoise
from lookaway.attacks.norms import check_epsilons
from lookaway.errors import InputError
from lookaway.models.checks import check_classes, check_pixels
from lookaway.models.gallery import Gallery


def verify(
    gallery: Gallery,
    images: Tensor,
    persons: Tensor,
    *,
    attacks: Sequence[Attack] | None = None,
    epsilons: Sequence[float] = (0.01, 0.05),
    batch_size: int = 32,
    noise_seed: int = 0,
) -> Comparisons:
    """Compare probes with the templates of a gallery, clean and under each attack and noise.

    Args:
        gallery: the network and its templates; it is afterwards as it was. Templates come from
            other images than the probes.
        images: (N, C, H, W) float pixels in [0, 1], the probes.
        persons: (N,) integers: who is on each, a place among the templates.
        attacks: None: FGSM that lowers the cosine with the own template (dodging).
        epsilons: sizes of the change, in the attacks' norm.
        batch_size: images in a pass.
        noise_seed: of the noise control.

    Returns:
        The similarities; ``rates()`` sums them up (see ``analysis.verification.verification``),
        ``det(setting)`` gives a curve.

    Raises:
        InputError: an argument does not fit.
        ModelError: an embedding has the length zero, or a template is a probe's own.

    >>> import lookaway as la
    >>> emb = la.load_embedder("test_resnet", pretrained=False)
    >>> faces = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> persons = torch.tensor([0, 1, 0, 1])
    >>> gallery = la.Gallery.enrol(emb, faces[:2], persons[:2])
    >>> list(la.verify(gallery, faces[2:], persons[2:], epsilons=[0.01]).similarities)
    [('clean', '', 0.0), ('fgsm', 'dodging', 0.01), ('noise', '', 0.01)]
    """
    own = [FGSM(objective="score")] if attacks is None else list(attacks)
    levels = check_epsilons(epsilons, norm_of(own))
    check_pixels(images, gallery.channels, gallery.name)
    if len(gallery.names) < 2:
        raise InputError("verification needs the templates of at least two persons; got one")
    persons = check_classes(persons, len(images), len(gallery.names), "persons")
    every = [*own, SignNoise(seed=noise_seed, norm=norm_of(own))]
    titles = [(attack.name, attack.aim) for attack in every]
    if len(set(titles)) < len(titles):
        raise InputError(f"each attack needs a name of its own; got {titles}")
    similarities: dict[Setting, list[Tensor]] = {CLEAN: []}
    similarities |= {(*title, epsilon): [] for title in titles for epsilon in levels}
    targets: dict[tuple[str, str], list[Tensor]] = {}
    for start in range(0, len(images), batch_size):
        pixels = images[start : start + batch_size].detach()
        truth = persons[start : start + batch_size].to(pixels.device)
        with torch.no_grad():
            clean = gallery(pixels)
        similarities[CLEAN].append(clean)
        for attack, title in zip(every, titles, strict=True):
            goal = attack.goal(clean, truth.to(clean.device), pixels)
            if goal is not None:
                targets.setdefault(title, []).append(goal)
            perturbed = attack(gallery, pixels, truth, levels)
            with torch.no_grad():
                for epsilon, each in zip(levels, perturbed, strict=True):
                    similarities[*title, epsilon].append(gallery(each))
    return Comparisons(
        _joined([persons]),
        {setting: _joined(parts) for setting, parts in similarities.items()},
        {title: _joined(parts) for title, parts in targets.items()},
    )


def _joined(parts: list[Tensor]) -> np.ndarray:
    return torch.cat(parts).numpy(force=True)

"""The verification of faces under attack, in memory."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lookaway.analysis.image_pairs import Pairs, dealt
from lookaway.analysis.verification import CLEAN, Comparisons, Setting
from lookaway.attacks.base import Attack, norm_of
from lookaway.attacks.fgsm import FGSM
from lookaway.attacks.noise import SignNoise
from lookaway.attacks.norms import check_epsilons
from lookaway.data.align import find_faces, open_aligner
from lookaway.data.folder import FolderSource, Record
from lookaway.data.pairs import Pair, read_pairs
from lookaway.data.pixels import as_floats
from lookaway.data.pose import MARGIN
from lookaway.errors import DataError, InputError
from lookaway.models.checks import check_classes, check_pixels
from lookaway.models.gallery import Embedder, Gallery
from lookaway.registry import check_names
from lookaway.study.images import prepared_grid

_PAIRWISE = "dodging or impersonation"


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


def verify_pairs(
    emb: Embedder,
    pairs: str | Path | pl.DataFrame,
    folder: str | Path,
    *,
    image_size: int = 224,
    align: str = "none",
    margin: float = MARGIN,
    landmarks: str | Path | None = None,
    attacks: Sequence[Attack] | None = None,
    epsilons: Sequence[float] = (0.01, 0.05),
    batch_size: int = 32,
    noise_seed: int = 0,
) -> Pairs:
    """Compare the two images of each pair, clean and with the first perturbed.

    Of a genuine pair an attack lowers the cosine with the second image, of an impostor pair it
    raises it.

    Args:
        emb: the network; it is afterwards as it was.
        pairs: LFW's ``pairs.txt``; or a CSV or frame with the columns a, b, same and, if known,
            fold (see ``data.pairs.read_pairs``).
        folder: of the images, root/person/image.
        image_size: side of the grid of pixels; see ``docs/settings.md``.
        align: ``none``, ``cascade`` or ``landmarks``: how faces are cut out. Pairs with an image in
            which no face is found are left out and listed.
        margin: of the square around a face.
        landmarks: boxes and points, with ``align="landmarks"``.
        attacks: with ``objective="score"``; None: FGSM.
        epsilons: sizes of the change, in the attacks' norm.
        batch_size: pairs in a pass.
        noise_seed: of the noise control.

    Returns:
        The similarities; ``rates()`` sums them up.

    Raises:
        InputError: an argument does not fit.
        DataError: pairs or images cannot be read, or do not fit each other.
        ModelError: an embedding has the length zero.
    """
    own = [FGSM(objective="score")] if attacks is None else list(attacks)
    if odd := [each.name for each in own if each.objective != "score" or each.targets is not None]:
        raise InputError(
            f"{', '.join(odd)}: attacks on pairs have objective='score' and no targets of their "
            "own; a pair says whom it is compared with"
        )
    levels = check_epsilons(epsilons, norm_of(own))
    every: list[Attack] = [*own, SignNoise(seed=noise_seed, norm=norm_of(own))]
    check_names("attacks", [each.name for each in every])
    source = FolderSource(folder)
    wanted = read_pairs(pairs, [record.image for record in source.listed()])
    images = _read(source, dict.fromkeys(name for pair in wanted for name in (pair.a, pair.b)))
    _check_people(wanted, images)
    aligner = open_aligner(align, None if landmarks is None else Path(landmarks), margin)
    poses = (
        {}
        if aligner is None
        else find_faces(aligner, source, list(images.values()), {}, lambda _: None, lambda _: None)
    )
    unseen = tuple(name for name, pose in poses.items() if pose is None)
    kept = [pair for pair in wanted if pair.a not in unseen and pair.b not in unseen]
    kinds = {pair.same for pair in kept}
    if kinds != {True, False}:
        raise DataError("pairs of one person and of two are needed; there are none of a kind")

    def pixels(names: Sequence[str]) -> Tensor:
        channels = emb.network.channels
        grids = [prepared_grid(source, images[name], poses, image_size, channels) for name in names]
        return torch.from_numpy(as_floats(grids))

    titles = [(each.name, _PAIRWISE if each.aim else "") for each in every]
    similarities: dict[Setting, list[Tensor]] = {CLEAN: []}
    similarities |= {(*title, epsilon): [] for title in titles for epsilon in levels}
    for start in range(0, len(kept), batch_size):
        some = kept[start : start + batch_size]
        probes, references = (pixels([each(pair) for pair in some]) for each in (_first, _second))
        with torch.no_grad():
            templates = emb(references)
            similarities[CLEAN].append(_cosines(emb, probes, templates))
        same = torch.tensor([pair.same for pair in some])
        for attack, title in zip(every, titles, strict=True):
            perturbed = _perturbed(emb, attack, probes, templates, same, levels)
            with torch.no_grad():
                for epsilon, each in zip(levels, perturbed, strict=True):
                    similarities[*title, epsilon].append(_cosines(emb, each, templates))
    people = {name: place for place, name in enumerate(sorted({r.label for r in images.values()}))}
    persons = np.array([[people[images[name].label] for name in (pair.a, pair.b)] for pair in kept])
    return Pairs(
        [pair.a for pair in kept],
        [pair.b for pair in kept],
        persons,
        np.array([pair.same for pair in kept]),
        dealt(persons, [pair.fold for pair in kept], noise_seed),
        {setting: _joined(parts) for setting, parts in similarities.items()},
        unseen,
    )


def _first(pair: Pair) -> str:
    return pair.a


def _second(pair: Pair) -> str:
    return pair.b


def _cosines(emb: Embedder, probes: Tensor, templates: Tensor) -> Tensor:
    found: Tensor = (emb(probes) * templates).sum(dim=1)
    return found


def _perturbed(
    emb: Embedder,
    attack: Attack,
    probes: Tensor,
    templates: Tensor,
    same: Tensor,
    levels: Sequence[float],
) -> Tensor:
    """The probes of pairs at each ε: away from the own reference, or towards another person's."""
    found = probes.expand(len(levels), *probes.shape).clone()
    for kind in (True, False):
        some = torch.nonzero(same == kind).flatten()
        if not len(some):
            continue
        # Beside one's own reference a gallery needs another, which has no part in the score.
        gallery = Gallery(emb, torch.cat([templates[some], -templates[some[:1]]]))
        own = torch.arange(len(some))
        if kind or not attack.targeted:
            changed = attack(gallery, probes[some], own, levels)
        else:
            nobody = torch.full_like(own, len(some))
            changed = attack(gallery, probes[some], nobody, levels, own)
        found[:, some] = changed.to(found)
    return found


def _read(source: FolderSource, names: Iterable[str]) -> dict[str, Record]:
    found = dict(source.read(names))
    if bad := {name: why for name, why in found.items() if isinstance(why, str)}:
        name, why = next(iter(bad.items()))
        raise DataError(f"{len(bad)} images of the pairs cannot be read, such as {name!r} ({why})")
    return {name: record for name, record in found.items() if isinstance(record, Record)}


def _check_people(pairs: Sequence[Pair], images: Mapping[str, Record]) -> None:
    """Refuse pairs that the folders of their images belie, or of an image with itself."""
    for pair in pairs:
        one, two = images[pair.a], images[pair.b]
        if pair.same != (one.label == two.label):
            raise DataError(
                f"the pair {pair.a!r} and {pair.b!r} is said to show "
                f"{'one person' if pair.same else 'two'}, but their folders are {one.label!r} and "
                f"{two.label!r}"
            )
        if one.sha256 == two.sha256:
            raise DataError(
                f"the pair {pair.a!r} and {pair.b!r} is one image twice, whose comparison says "
                "nothing; remove it"
            )


def _joined(parts: list[Tensor]) -> np.ndarray:
    return torch.cat(parts).numpy(force=True)

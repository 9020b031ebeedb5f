"""Controls with an attack's own shape: made of its perturbations, and measured under."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from lookaway.controls import OTHER_CLASS, RESEEDED, SAME_CLASS, SHIFTED, Control, Counts
from lookaway.explainers.base import Explainer
from lookaway.hashing import random_shift, random_signs, seed_from
from lookaway.kernel import measure_under
from lookaway.measured import Found, Key, Measured, MeasureSettings
from lookaway.metrics.shuffled import of_other_classes, of_same_class
from lookaway.models.classifier import Classifier
from lookaway.perturbation import Perturbation, Source

_CLEAN = ("clean_class", "clean_confidence", "clean_logit", "clean_maps", "clean_dead")


def measure_controls(
    clf: Classifier,
    images: Tensor,
    labels: Tensor,
    names: Sequence[str],
    settings: MeasureSettings,
    explainers: Sequence[Explainer],
    found: Found,
    given: Mapping[Source, Perturbation],
    counts: Counts,
    advance: Callable[[], None] = lambda: None,
    only: Collection[str] | None = None,
) -> list[tuple[np.ndarray, Measured]]:
    """Measure images under the controls of all perturbations that they were measured under.

    Only the last layer is measured, and what the attacks found in the clean images is used again.

    Args:
        clf: the classifier; it is afterwards as it was.
        images: (N, C, H, W) float32 pixels in [0, 1]: those among which partners are chosen.
        labels: (N,) int64.
        names: of the images, which choose their partners.
        settings: how; its noise seed is the controls' too.
        explainers: of the classifier's layers.
        found: what ``measure_images`` found in all images, first of all.
        given: other models' perturbations of the images.
        counts: how many controls of each kind.
        advance: told of each control that is done.
        only: names of the controls that are measured; None: all.

    Returns:
        For each control the places of the images that have it, and what was measured of them.
    """
    clean, own = _clean(found, settings.last), found[0][1].perturbations
    measured, pixels = [], images.numpy(force=True)
    for source, perturbation in _sources(own, given, clf.name):
        whose = source[0], None if source[1] == clf.name else source[1]
        for control in counts.of(*whose):
            if only is not None and control.name not in only:
                continue
            places, made = make_control(
                control,
                perturbation,
                pixels,
                labels.tolist(),
                names,
                settings.noise_seed or 0,
            )
            if len(places):
                some = {key: array[places] for key, array in clean.items()}
                part = images[places], labels[places]
                one = (control.name, None)
                # The verdict holds attacks against shifted ones: rankings by that are made again.
                more = settings.statistics and control.kind == SHIFTED
                how = replace(settings, statistics=more, displacement=False)
                each = measure_under(clf, *part, how, explainers, some, one, made)
                measured.append((places, _without_maps(each)))
            advance()
    return measured


def make_control(
    control: Control,
    perturbation: Perturbation,
    images: np.ndarray,
    labels: Sequence[int],
    names: Sequence[str],
    seed: int,
) -> tuple[np.ndarray, Perturbation]:
    """A control of an attack's perturbations of images.

    What is random follows from the seed, the control's number and the image's content; partners
    from the names and classes of all images.

    Args:
        control: which.
        perturbation: the attack's, of N images, in NumPy.
        images: (N, C, H, W) float32 pixels in [0, 1].
        labels: (N,) classes.
        names: of the images.
        seed: of the study.

    Returns:
        The places of the images that have the control, mostly all, and their perturbation.
    """
    places = np.arange(len(images))
    if control.kind == SHIFTED:
        ways = [random_shift(seed, control.number, image) for image in images]
        return places, perturbation.shifted(ways)
    if control.kind in (SAME_CLASS, OTHER_CLASS):
        others = transplants(names, labels, seed, control)
        have = np.array([place for place in places if others[place] is not None], dtype=int)
        return have, perturbation.of([others[place] for place in have])
    white = [random_signs(seed_from(seed, control.number), image) for image in images]
    if control.kind == RESEEDED:
        return places, perturbation.with_signs(np.stack(white))
    codes = [_spectrum_noise(*each) for each in zip(perturbation.codes, white, strict=True)]
    return places, Perturbation(np.stack(codes), perturbation.scale)


def _spectrum_noise(codes: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Codes (L, C, H, W) at random phases, of one level after the other: none changes another."""
    each = [with_own_values(phase_randomised(one[None], white), one[None]) for one in codes]
    return np.concatenate(each)


def transplants(
    names: Sequence[str], labels: Sequence[int], seed: int, control: Control
) -> list[int | None]:
    """For each image another of its class, or one of another class; None where there is none.

    See ``of_same_class`` and ``of_other_classes``. Both follow from the names, the classes and the
    control alone.

    >>> transplants(["a", "b", "c"], [0, 0, 1], 0, Control(SAME_CLASS, 1, "fgsm"))
    [1, 0, None]
    """
    its_seed = seed_from(seed, control.kind, control.number)
    if control.kind == SAME_CLASS:
        found = of_same_class(names, labels, its_seed)
    else:
        found = of_other_classes(names, labels, its_seed, 1)
    return [some[0] if some else None for some in found]


def phase_randomised(codes: np.ndarray, white: np.ndarray) -> np.ndarray:
    """A change with the same amplitudes at every frequency, and random phases.

    Every channel and level is turned by the same phases, so what they have in common stays
    (Prichard and Theiler 1994): those of white noise, so that the result is real.

    Args:
        codes: (L, C, H, W).
        white: (C, H, W) white noise, of which the first channel is used.

    Returns:
        (L, C, H, W) float64.
    """
    turn = np.exp(1j * np.angle(np.fft.fft2(white[0].astype(float))))
    turned = np.fft.ifft2(np.fft.fft2(codes.astype(float)) * turn)
    found: np.ndarray = turned.real
    return found


def with_own_values(field: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The values of a change in the order of another field, channel by channel.

    So it is as large as the change in every norm (Theiler et al. 1992): the smallest value stands
    where the field is lowest. Of a sign attack's codes that is the field's sign, with as many of
    each sign as the attack has.

    Args:
        field: (L, C, H, W) floats.
        codes: (L, C, H, W) int8.

    >>> with_own_values(np.array([[[[0.3, -2.0, 0.1]]]]), np.array([[[[127, 127, -127]]]])).tolist()
    [[[[127, -127, 127]]]]
    """
    flat = (*codes.shape[:2], -1)
    order = field.reshape(flat).argsort(axis=-1, kind="stable")
    found = np.empty_like(codes).reshape(flat)
    np.put_along_axis(found, order, np.sort(codes.reshape(flat), axis=-1), axis=-1)
    return found.reshape(codes.shape)


def _sources(
    own: Mapping[str, Perturbation], given: Mapping[Source, Perturbation], model: str
) -> Iterator[tuple[Source, Perturbation]]:
    """Each attack's own perturbations, then those that others give of it."""
    for attack, perturbation in own.items():
        yield (attack, model), perturbation
        for source, other in given.items():
            if source[0] == attack:
                yield source, other.in_memory()


def _clean(found: Found, last: str) -> dict[Key, np.ndarray]:
    """What was found in the clean images at the last layer."""
    arrays = found[0][1].arrays
    return {
        key: each for key, each in arrays.items() if key.name in _CLEAN and key.layer in ("", last)
    }


def _without_maps(measured: Measured) -> Measured:
    """Without the attacked maps, which nobody keeps."""
    kept = {key: each for key, each in measured.arrays.items() if key.name != "attacked_maps"}
    return Measured(measured.sources, kept, {})

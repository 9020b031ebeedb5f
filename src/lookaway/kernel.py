"""The kernel: perturb, explain and compare images, in memory. A study schedules and stores it."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lookaway.attacks.base import Attack, GradientAttack, goals, norm_of, searched
from lookaway.attacks.noise import SignNoise
from lookaway.compared import compared
from lookaway.explainers.base import Explainer, Explanation, Loss
from lookaway.measured import REACHED, in_memory, joined_by_name
from lookaway.measured import Key as Key
from lookaway.measured import Measured as Measured
from lookaway.measured import MeasureSettings as MeasureSettings
from lookaway.metrics.dissimilarity import linf_and_psnr
from lookaway.models.classifier import Classifier
from lookaway.models.postponed import postponed, settled
from lookaway.perturbation import NOISE, Perturbation, Source, check_given, own_size_noise
from lookaway.registry import check_names
from lookaway.seen import Seen, see

_POLICIES = ("own", "clean", "label")  # which class is explained


def measure_images(
    clf: Classifier,
    images: Tensor,
    labels: Tensor,
    settings: MeasureSettings,
    attacks: Sequence[Attack],
    explainers: Sequence[Explainer],
    given: Mapping[Source, Perturbation] | None = None,
    keep: Tensor | None = None,
    advance: Callable[[int], None] = lambda _: None,
    own: Mapping[str, Perturbation] | None = None,
    only: Collection[Source] | None = None,
) -> Measured:
    """Perturb, explain and compare images, some after others.

    What is measured at one ε, under one perturbation, by one explainer and at one layer is bit for
    bit the same whatever else is measured: the images of a pass follow from all images and the
    batch size alone, and one pass serves all layers.

    Args:
        clf: the classifier; it is afterwards as it was.
        images: (N, C, H, W) float32 pixels in [0, 1], N at least 1.
        labels: (N,) int64.
        settings: how.
        attacks: of the classifier itself.
        explainers: of its layers, at least one.
        given: other models' perturbations of these images, and noise that is drawn already.
        keep: (N,) bool, of which images the attacked maps of every layer are given back; those of
            the last layer always are. None: of all.
        advance: told of each batch of images done.
        own: perturbations by the attacks of these images that are known; None: they are made.
        only: the perturbations that are measured, of attacks and controls; None: all.

    Raises:
        InputError: two attacks or explainers have one name, attacks different norms, or a given
            perturbation is of none of the attacks, or of other images or levels.
    """
    check_names("attacks", [attack.name for attack in attacks])
    check_names("explainers", [explainer.name for explainer in explainers])
    names = [*(attack.name for attack in attacks), NOISE]
    check_given(given or {}, names, images, len(settings.epsilons))
    keep = torch.full((len(images),), True, device="cpu") if keep is None else keep
    found = []
    with clf.held():
        for places in _batches(len(images), settings.batch_size):
            some = {source: each.of(places) for source, each in (given or {}).items()}
            known = None if own is None else {name: each.of(places) for name, each in own.items()}
            batch = _Batch(clf, images[places], labels[places], settings, explainers, keep[places])
            with postponed():
                found.append(batch.measure(attacks, some, known, only))
            advance(len(batch.images))
    return Measured.joined(found)


def perturbations_of(
    clf: Classifier,
    images: Tensor,
    labels: Tensor,
    settings: MeasureSettings,
    attacks: Sequence[Attack],
    explainers: Sequence[Explainer],
) -> dict[str, Perturbation]:
    """A classifier's own perturbations of images, just as ``measure_images`` makes them."""
    with clf.held(), postponed():
        return joined_by_name(
            [
                _Batch(clf, images[places], labels[places], settings, explainers).perturb(attacks)
                for places in _batches(len(images), settings.batch_size)
            ]
        )


def measure_under(
    clf: Classifier,
    images: Tensor,
    labels: Tensor,
    settings: MeasureSettings,
    explainers: Sequence[Explainer],
    clean: Mapping[Key, np.ndarray],
    source: Source,
    perturbation: Perturbation,
) -> Measured:
    """Measure images whose clean maps are known under one more perturbation, at the last layer.

    Args:
        clf: the classifier; it is afterwards as it was.
        images: (N, C, H, W) float32 pixels in [0, 1], N at least 1.
        labels: (N,) int64.
        settings: how; the last layer alone.
        explainers: of its layers.
        clean: of these images what ``measure_images`` found in the clean ones at the last layer.
        source: what the perturbation is called.
        perturbation: of these images.
    """
    alone = replace(settings, layers=(settings.last,), scores=False)
    found = []
    with clf.held(), postponed():
        for places in _batches(len(images), settings.batch_size):
            some = {key: array[places] for key, array in clean.items()}
            batch = _Batch(clf, images[places], labels[places], alone, explainers)
            found.append(batch.measure_under(some, source, perturbation.of(places)))
    return Measured.joined(found)


class _Batch:
    """Images that are measured together: all of them are in each pass."""

    def __init__(
        self,
        clf: Classifier,
        images: Tensor,
        labels: Tensor,
        settings: MeasureSettings,
        explainers: Sequence[Explainer],
        keep: Tensor | None = None,
    ) -> None:
        self.clf, self.settings, self.explainers = clf, settings, explainers
        # The places of images whose maps are kept at every layer; None: all.
        some = keep is not None and not bool(keep.all())
        self.kept = keep.nonzero()[:, 0].to(clf.device) if keep is not None and some else None
        self.images = images.to(clf.device)
        self.labels = labels.to(clf.device)
        self._predicted: Tensor | None = None  # of the clean images, as soon as it is known
        self._prepared: Tensor | None = None
        # For each perturbation a tensor (E, N, …).
        self._found: dict[Key, list[Tensor]] = defaultdict(list)

    def perturb(self, attacks: Sequence[Attack]) -> dict[str, Perturbation]:
        """The classifier's own perturbations, in memory; what it sees in clean images is kept.

        Gradients that attacks need come from the pass that explains.
        """
        by_gradient = [attack for attack in attacks if isinstance(attack, GradientAttack)]
        gradients = self._see_clean(by_gradient)
        found = {
            attack.name: attack.of_gradient(gradient, self.clf.name).in_memory()
            for attack, gradient in zip(by_gradient, gradients, strict=True)
        }
        for attack in attacks:
            if attack.name not in found:
                found[attack.name] = searched(
                    attack, self.clf, self.images, self.labels, self.settings.epsilons
                )
        return {attack.name: found[attack.name] for attack in attacks}

    def _see_clean(self, attacks: Sequence[GradientAttack]) -> list[Tensor]:
        """Look at the clean images, and give the gradients that attacks need."""
        losses = [attack.of_logits(self.clf, self.images, self.labels) for attack in attacks]
        ((self.clean, gradients),) = settled([partial(self._explain, self.images, losses)])
        self._predicted = self.clean.predicted
        return gradients

    def measure(
        self,
        attacks: Sequence[Attack],
        given: Mapping[Source, Perturbation],
        known: Mapping[str, Perturbation] | None = None,
        only: Collection[Source] | None = None,
    ) -> Measured:
        """All of it; see ``measure_images``."""
        if known is None:
            own = self.perturb(attacks)
        else:
            self._see_clean([])
            own = dict(known)
        sources = []
        for source, perturbation in self._perturbations(own, given, attacks):
            if only is None or source in only:
                sources.append(source)
                self._attack(perturbation.on(self.clf.device))
        arrays = {
            Key("clean_class"): self.clean.predicted,
            Key("clean_confidence"): self.clean.confidence,
            Key("clean_logit"): self.clf.outputs.score(self.clean.logits, self.clean.predicted),
        }
        if self.settings.scores:
            aimed = goals(attacks, self.clean.logits, self.labels, self.images)
            arrays |= {Key("clean_scores"): self.clean.logits, Key("targets"): aimed}
        for (method, policy), view in self.clean.views.items():
            for layer in self.settings.layers:
                arrays[Key("clean_maps", method, policy, layer)] = view.maps[layer]
                arrays[Key("clean_dead", method, policy, layer)] = view.dead[layer]
        return Measured(tuple(sources), in_memory({**arrays, **self._numbers()}), own)

    def measure_under(
        self, clean: Mapping[Key, np.ndarray], source: Source, perturbation: Perturbation
    ) -> Measured:
        """What one perturbation does to images whose clean maps are known."""
        here = {key: torch.from_numpy(array).to(self.clf.device) for key, array in clean.items()}
        predicted, last = here[Key("clean_class")], self.settings.last
        classes = {"own": predicted, "clean": predicted, "label": self.labels}
        none = torch.empty(0, device=self.clf.device)
        views = {
            (explainer.name, policy): Explanation(
                {last: here[Key("clean_maps", explainer.name, policy, last)]},
                {last: here[Key("clean_dead", explainer.name, policy, last)]},
                none,
                classes[policy],
            )
            for explainer in self.explainers
            for policy in self.settings.policies
        }
        self.clean = Seen(views, none, predicted, here[Key("clean_confidence")])
        self._predicted = predicted
        self._attack(perturbation.on(self.clf.device))
        return Measured((source,), {**clean, **in_memory(self._numbers())}, {})

    def _numbers(self) -> dict[Key, Tensor]:
        """What was found under each perturbation, (N, P, E, …)."""
        return {key: torch.stack(values).movedim(2, 0) for key, values in self._found.items()}

    def _perturbations(
        self,
        own: Mapping[str, Perturbation],
        given: Mapping[Source, Perturbation],
        attacks: Sequence[Attack],
    ) -> Iterator[tuple[Source, Perturbation]]:
        """Each perturbation that the images are measured under: own, given, then controls."""
        controlled = []
        for attack in attacks:
            yield (attack.name, self.clf.name), own[attack.name]
            others = {source: each for source, each in given.items() if source[0] == attack.name}
            yield from others.items()
            if not attack.by_signs:
                controlled.append((own_size_noise(attack.name), own[attack.name]))
                controlled += [(own_size_noise(*source), each) for source, each in others.items()]
        if self.settings.noise_seed is not None:
            noise = SignNoise(self.settings.noise_seed, norm_of(attacks))
            levels, found = self.settings.epsilons, given.get((NOISE, None))
            found = found or noise.find(self.clf, self.images, self.labels, levels)
            yield (NOISE, None), (found := found.on(self.clf.device))
            for name, perturbation in controlled:
                signs = found.codes[:, 0].sign()
                yield (name, None), perturbation.on(self.clf.device).with_signs(signs)

    def _attack(self, perturbation: Perturbation) -> None:
        """Measure the images under one perturbation, at every ε."""
        attacked = [
            perturbation.attacked(self.images, level, epsilon)
            for level, epsilon in enumerate(self.settings.epsilons)
        ]
        if self.settings.quantize:
            attacked = [(each * 255.0).round() / 255.0 for each in attacked]
        looks = settled([partial(self._explain, pixels) for pixels in attacked])
        seen = [each for each, _ in looks]
        levels = []
        for pixels, each in zip(attacked, seen, strict=True):
            found = {Key(name): values for name, values in self._changes(pixels).items()}
            found[Key("attacked_class")] = each.predicted
            found[Key("attacked_confidence")] = each.confidence
            same = self.clean.predicted
            found[Key("attacked_logit")] = self.clf.outputs.score(each.logits, same)
            if self.settings.scores:
                found[Key("scores")] = each.logits
            for (method, policy), view in each.views.items():
                for layer in self.settings.layers:
                    maps = view.maps[layer]
                    if layer != self.settings.last and self.kept is not None:
                        maps = maps.index_select(0, self.kept)
                    found[Key("attacked_maps", method, policy, layer)] = maps
                    found[Key("attacked_dead", method, policy, layer)] = view.dead[layer]
            levels.append(found)
        whole = {key: torch.stack([found[key] for found in levels]) for key in levels[0]}
        whole |= compared(self.clean, seen, self.settings)
        for key, values in whole.items():
            self._found[key].append(values)

    def _changes(self, changed: Tensor) -> dict[str, Tensor]:
        """How far attacked images are from the clean ones, (N,) each.

        What they reach is the RMS and the largest of the change of the network's own, normalised
        input.
        """
        if self._prepared is None:
            self._prepared = self.clf.prepare(self.images).float()
        reached = (self.clf.prepare(changed).float() - self._prepared).flatten(1)
        length = torch.linalg.vector_norm(reached.double(), dim=1)
        rms = length / reached.shape[1] ** 0.5
        largest, ratio = linf_and_psnr(self.images, changed)
        found = dict(zip(REACHED, (rms, reached.abs().amax(dim=1).double()), strict=True))
        # Unattacked as where the gradient is zero everywhere.
        return {"linf": largest, "psnr": ratio, **found, "unattacked": largest == 0}

    def _explain(self, pixels: Tensor, losses: Sequence[Loss] = ()) -> tuple[Seen, list[Tensor]]:
        """What the classifier sees in the images, clean or attacked; gradients of losses by pixels.

        The last layer is always explained.

        Args:
            pixels: of the images.
            losses: of the logits.
        """
        known = dict(zip(_POLICIES, (None, self._predicted, self.labels), strict=True))
        classes = {policy: known[policy] for policy in self.settings.policies}
        layers = list(dict.fromkeys([*self.settings.layers, self.settings.last]))
        return see(self.clf, self.explainers, pixels, self.labels, classes, layers, losses)


def _batches(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]

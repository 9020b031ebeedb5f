"""The kernel: perturb, explain and compare images, in memory. A study schedules and stores it."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lookaway.attacks.base import Attack, GradientAttack, goals, norm_of, searched
from lookaway.attacks.noise import SignNoise
from lookaway.explainers.base import Explainer, Explanation, Loss
from lookaway.measured import REACHED, joined_by_name
from lookaway.measured import Key as Key
from lookaway.measured import Measured as Measured
from lookaway.measured import MeasureSettings as MeasureSettings
from lookaway.metrics.dissimilarity import linf, psnr
from lookaway.metrics.map_nissim import nissim_of_maps
from lookaway.metrics.map_statistics import of_last
from lookaway.metrics.transport import moved
from lookaway.models.classifier import Classifier
from lookaway.perturbation import NOISE, Perturbation, Source, check_given, own_size_noise
from lookaway.registry import check_names
from lookaway.seen import Seen, see

_IMAGES_AT_ONCE = 32  # in a pass that keeps no graph of the trunk
_WIDER = 4  # times the batch size at most; as many in a pass of an attack of several steps


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
    batch size alone.

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
    with clf.computing():
        for places in _together(len(images), settings.batch_size):
            some = {source: each.of(places) for source, each in (given or {}).items()}
            known = None if own is None else {name: each.of(places) for name, each in own.items()}
            batch = _Batch(clf, images[places], labels[places], settings, explainers, keep[places])
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
    with clf.computing():
        return joined_by_name(
            [
                _Batch(clf, images[places], labels[places], settings, explainers).perturb(attacks)
                for places in _together(len(images), settings.batch_size)
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
    with clf.computing():
        for places in _together(len(images), settings.batch_size):
            some = {key: array[places] for key, array in clean.items()}
            batch = _Batch(clf, images[places], labels[places], alone, explainers)
            found.append(batch.measure_under(some, source, perturbation.of(places)))
    return Measured.joined(found)


class _Batch:
    """Images that are measured together, in passes of the batch size, or all in one."""

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
        self.kept = None if keep is None or bool(keep.all()) else keep.to(clf.device)
        self.images = images.to(clf.device)
        self.labels = labels.to(clf.device)
        self._every = slice(0, len(images))
        self._targets: dict[str, Tensor | None] = {"own": None, "clean": None, "label": self.labels}
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
                    attack,
                    self.clf,
                    self.images,
                    self.labels,
                    self.settings.epsilons,
                    _WIDER * self.settings.batch_size,
                )
        return {attack.name: found[attack.name] for attack in attacks}

    def _see_clean(self, attacks: Sequence[GradientAttack]) -> list[Tensor]:
        """Look at the clean images, and give the gradients that attacks need."""
        layers = list(dict.fromkeys([*self.settings.layers, self.settings.last]))
        seen, gradients = [], []
        for places in _batches(len(self.images), self.settings.batch_size):
            pixels, labels = self.images[places], self.labels[places]
            losses = [attack.of_logits(self.clf, pixels, labels) for attack in attacks]
            one, found = self._explain(pixels, places, layers, losses)
            seen.append(one)
            gradients.append(found)
        self.clean = Seen.joined(seen)
        self._targets["clean"] = self.clean.predicted
        return [torch.cat(each) for each in zip(*gradients, strict=True)]

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
        numbers = {key: tensor.cpu().numpy() for key, tensor in arrays.items()}
        return Measured(tuple(sources), numbers | self._numbers(), own)

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
        self._targets["clean"] = predicted
        self._attack(perturbation.on(self.clf.device))
        return Measured((source,), {**clean, **self._numbers()}, {})

    def _numbers(self) -> dict[Key, np.ndarray]:
        """What was found under each perturbation, (N, P, E, …)."""
        found = {key: torch.stack(values).movedim(2, 0) for key, values in self._found.items()}
        return {key: tensor.cpu().numpy() for key, tensor in found.items()}

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
        """Measure the images under one perturbation, at one ε after the other."""
        levels = []
        for level, epsilon in enumerate(self.settings.epsilons):
            attacked = perturbation.attacked(self.images, level, epsilon)
            if self.settings.quantize:
                attacked = (attacked * 255.0).round() / 255.0
            found = self._changes(attacked)
            seen = self._see(attacked)
            same = self.clean.predicted
            found[Key("attacked_class")] = seen.predicted
            found[Key("attacked_confidence")] = seen.confidence
            found[Key("attacked_logit")] = self.clf.outputs.score(seen.logits, same)
            if self.settings.scores:
                found[Key("scores")] = seen.logits
            for method in dict.fromkeys(method for method, _ in self.clean.views):
                found |= self._compared(method, seen)
            levels.append(found)
        for key in levels[0]:
            self._found[key].append(torch.stack([found[key] for found in levels]))

    def _changes(self, changed: Tensor) -> dict[Key, Tensor]:
        """How far attacked images are from the clean ones, (N,) each.

        What they reach is the RMS and the largest of the change of the network's own, normalised
        input.
        """
        if self._prepared is None:
            self._prepared = self.clf.prepare(self.images).double()
        change = (self.clf.prepare(changed).double() - self._prepared).flatten(1)
        reached = change.square().mean(dim=1).sqrt(), change.abs().amax(dim=1)
        # As where the gradient is zero everywhere.
        same = (changed == self.images).flatten(1).all(dim=1)
        found = {"linf": linf(self.images, changed), "psnr": psnr(self.images, changed)}
        found |= {**dict(zip(REACHED, reached, strict=True)), "unattacked": same}
        return {Key(name): values for name, values in found.items()}

    def _compared(self, method: str, seen: Seen) -> dict[Key, Tensor]:
        """Clean and attacked maps of one ε compared, each pair of explained classes once.

        Args:
            method: of the explainer.
            seen: the attacked images.
        """
        settings = self.settings
        found: dict[Key, Tensor] = {}
        done: list[tuple[str, Tensor, Tensor]] = []  # policies and their classes
        for policy in settings.policies:
            clean, attacked = self.clean.views[method, policy], seen.views[method, policy]
            before, after = clean.classes, attacked.classes
            left = torch.ones_like(after, dtype=torch.bool)
            known = []
            for other, other_before, other_after in done:
                same = left & (before == other_before) & (after == other_after)
                known.append((other, same))
                left &= ~same
            done.append((policy, before, after))
            for layer in settings.layers:
                maps = attacked.maps[layer]
                pair = clean.maps[layer][left], maps[left]
                numbers = {"nissim": nissim_of_maps(*pair, settings.grid, settings.ssim)}
                if layer == settings.last:
                    numbers |= of_last(pair, numbers["nissim"], *settings.of_last)
                numbers |= moved(*pair)
                for name, values in numbers.items():
                    whole = values.new_zeros(len(after)).masked_scatter(left, values)
                    for other, same in known:
                        whole = torch.where(same, found[Key(name, method, other, layer)], whole)
                    found[Key(name, method, policy, layer)] = whole
                found[Key("attacked_dead", method, policy, layer)] = attacked.dead[layer]
                kept = maps if layer == settings.last or self.kept is None else maps[self.kept]
                found[Key("attacked_maps", method, policy, layer)] = kept
        return found

    def _see(self, attacked: Tensor) -> Seen:
        """What the classifier sees in attacked images (N, C, H, W).

        At the last layer in one pass, for there the trunk runs without a graph, and larger passes
        are faster; at the others in passes of the batch size, for the graph of each lies in memory.
        So the numbers of one layer never depend on which others are explained.
        """
        seen, _ = self._explain(attacked, self._every, [self.settings.last])
        others = [layer for layer in self.settings.layers if layer != self.settings.last]
        if not others:
            return seen
        rest = [
            self._explain(attacked[places], places, others, own=seen.predicted[places])[0]
            for places in _batches(len(attacked), self.settings.batch_size)
        ]
        return seen.with_layers_of(Seen.joined(rest))

    def _explain(
        self,
        pixels: Tensor,
        places: slice,
        layers: Sequence[str],
        losses: Sequence[Loss] = (),
        own: Tensor | None = None,
    ) -> tuple[Seen, list[Tensor]]:
        """What the classifier sees in some of the images; and the gradients of losses by pixels.

        Args:
            pixels: of the images, clean or attacked.
            places: which they are.
            layers: the explained ones.
            losses: of the logits.
            own: the classes that it predicted for them, where that is known.
        """
        targets = {policy: self._targets[policy] for policy in self.settings.policies}
        classes = {
            policy: own if policy == "own" else None if each is None else each[places]
            for policy, each in targets.items()
        }
        labels = self.labels[places]
        return see(self.clf, self.explainers, pixels, labels, classes, layers, losses)


def _together(count: int, size: int) -> list[slice]:  # what one wide pass takes
    return _batches(count, size * max(1, min(_WIDER, _IMAGES_AT_ONCE // size)))


def _batches(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]

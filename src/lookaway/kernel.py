"""The kernel: perturb, explain and compare images, in memory. A study schedules and stores it."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lookaway.attacks.base import Attack, GradientAttack, goals, norm_of
from lookaway.attacks.noise import SignNoise
from lookaway.explainers.base import Explainer, Explanation, Loss
from lookaway.measured import REACHED, joined_by_name
from lookaway.measured import Key as Key
from lookaway.measured import Measured as Measured
from lookaway.measured import MeasureSettings as MeasureSettings
from lookaway.metrics.dissimilarity import linf, psnr
from lookaway.metrics.map_nissim import nissim_of_maps
from lookaway.metrics.map_statistics import map_statistics
from lookaway.models.classifier import Classifier
from lookaway.perturbation import Perturbation, Source, check_given, own_size_noise
from lookaway.registry import check_names

_IMAGES_AT_ONCE = 32  # in a pass that keeps no graph of the trunk


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
) -> Measured:
    """Perturb, explain and compare images, batch after batch.

    Args:
        clf: the classifier; it is afterwards as it was.
        images: (N, C, H, W) float32 pixels in [0, 1], N at least 1.
        labels: (N,) int64.
        settings: how.
        attacks: of the classifier itself.
        explainers: of its layers, at least one.
        given: other models' perturbations of these images.
        keep: (N,) bool, of which images the attacked maps of every layer are given back; those of
            the last layer always are. None: of all.
        advance: told of each batch of images done.

    Raises:
        InputError: two attacks or explainers have one name, attacks different norms, or a given
            perturbation is of none of the attacks, or of other images or levels.
    """
    check_names("attacks", [attack.name for attack in attacks])
    check_names("explainers", [explainer.name for explainer in explainers])
    check_given(given or {}, [attack.name for attack in attacks], images, len(settings.epsilons))
    keep = torch.full((len(images),), True, device="cpu") if keep is None else keep
    found = []
    with clf.computing():
        for places in _batches(len(images), settings.batch_size):
            some = {source: each.of(places) for source, each in (given or {}).items()}
            batch = _Batch(clf, images[places], labels[places], settings, explainers, keep[places])
            found.append(batch.measure(attacks, some))
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
                _stored(
                    _Batch(clf, images[places], labels[places], settings, explainers).perturb(
                        attacks
                    )
                )
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
        settings: how; there are no statistics.
        explainers: of its layers.
        clean: of these images what ``measure_images`` found in the clean ones at the last layer.
        source: what the perturbation is called.
        perturbation: of these images.
    """
    alone = replace(settings, layers=(settings.last,), statistics=False, scores=False)
    found = []
    with clf.computing():
        for places in _batches(len(images), settings.batch_size):
            some = {key: array[places] for key, array in clean.items()}
            batch = _Batch(clf, images[places], labels[places], alone, explainers)
            found.append(batch.measure_under(some, source, perturbation.of(places)))
    return Measured.joined(found)


@dataclass(frozen=True)
class _Seen:
    """Images as the classifier sees them: explanations by explainer and policy, predictions."""

    views: dict[tuple[str, str], Explanation]
    logits: Tensor
    predicted: Tensor
    confidence: Tensor


class _Batch:
    """Images that go through the network together."""

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
        pixels = images.pin_memory() if clf.device.type == "cuda" else images
        self.images = pixels.to(clf.device, non_blocking=True)
        self.labels = labels.to(clf.device)
        self._targets: dict[str, Tensor | None] = {"own": None, "clean": None, "label": self.labels}
        self._prepared: Tensor | None = None
        # For each perturbation a tensor (E, N, …).
        self._found: dict[Key, list[Tensor]] = defaultdict(list)

    def perturb(self, attacks: Sequence[Attack]) -> dict[str, Perturbation]:
        """The classifier's own perturbations; what it sees in the clean images is kept.

        Gradients that attacks need come from the pass that explains.
        """
        by_gradient = [attack for attack in attacks if isinstance(attack, GradientAttack)]
        losses = [attack.of_logits(self.clf, self.images, self.labels) for attack in by_gradient]
        self.clean, gradients = self._explain(self.images, losses)
        self._targets["clean"] = self.clean.predicted
        found = {
            attack.name: attack.of_gradient(gradient, self.clf.name)
            for attack, gradient in zip(by_gradient, gradients, strict=True)
        }
        for attack in attacks:
            if attack.name not in found:
                levels = self.settings.epsilons
                found[attack.name] = attack.find(self.clf, self.images, self.labels, levels)
        return {attack.name: found[attack.name] for attack in attacks}

    def measure(self, attacks: Sequence[Attack], given: Mapping[Source, Perturbation]) -> Measured:
        """All of it."""
        own = self.perturb(attacks)
        sources = []
        for source, perturbation in self._perturbations(own, given, attacks):
            sources.append(source)
            self._attack(perturbation)
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
        return Measured(tuple(sources), numbers | self._numbers(), _stored(own))

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
        self.clean = _Seen(views, none, predicted, here[Key("clean_confidence")])
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
            for source, other in others.items():
                yield source, other.on(self.clf.device)
            if not attack.by_signs:
                controlled.append((own_size_noise(attack.name), own[attack.name]))
                controlled += [(own_size_noise(*source), each) for source, each in others.items()]
        if self.settings.noise_seed is not None:
            noise = SignNoise(self.settings.noise_seed, norm_of(attacks))
            levels = self.settings.epsilons
            found = noise.find(self.clf, self.images, self.labels, levels)
            yield (noise.name, None), found
            for name, perturbation in controlled:
                signs = found.codes[:, 0].sign()
                yield (name, None), perturbation.on(self.clf.device).with_signs(signs)

    def _attack(self, perturbation: Perturbation) -> None:
        """Measure the images under one perturbation."""
        settings, count = self.settings, len(self.images)
        # Where the trunk runs without a graph, several ε fit into a pass, and larger passes are
        # faster; else the graph of every explained layer lies in memory.
        at_once = max(1, _IMAGES_AT_ONCE // settings.batch_size)
        at_once = at_once if settings.layers == (settings.last,) else 1
        changes: dict[str, list[Tensor]] = defaultdict(list)
        seen: list[_Seen] = []
        for start in range(0, len(settings.epsilons), at_once):
            levels = enumerate(settings.epsilons[start : start + at_once], start)
            attacked = torch.stack(
                [perturbation.attacked(self.images, level, epsilon) for level, epsilon in levels]
            )
            if settings.quantize:
                attacked = (attacked * 255.0).round() / 255.0
            for changed in attacked:
                changes["linf"].append(linf(self.images, changed))
                changes["psnr"].append(psnr(self.images, changed))
                for name, reached in zip(REACHED, self._reached(changed), strict=True):
                    changes[name].append(reached)
                # As where the gradient is zero everywhere.
                changes["unattacked"].append((changed == self.images).flatten(1).all(dim=1))
            found, _ = self._explain(attacked.flatten(0, 1))
            changes["attacked_class"] += torch.split(found.predicted, count)
            changes["attacked_confidence"] += torch.split(found.confidence, count)
            same = self.clean.predicted.repeat(len(attacked))
            logits = self.clf.outputs.score(found.logits, same)
            changes["attacked_logit"] += torch.split(logits, count)
            if settings.scores:
                changes["scores"] += torch.split(found.logits, count)
            seen.append(found)
        for name, values in changes.items():
            self._found[Key(name)].append(torch.stack(values))
        for method in dict.fromkeys(method for method, _ in self.clean.views):
            self._compare(method, seen)

    def _reached(self, changed: Tensor) -> tuple[Tensor, Tensor]:
        """The RMS and the largest of the change of the network's own, normalised input, (N,)."""
        if self._prepared is None:
            self._prepared = self.clf.prepare(self.images).double()
        change = (self.clf.prepare(changed).double() - self._prepared).flatten(1)
        return change.square().mean(dim=1).sqrt(), change.abs().amax(dim=1)

    def _compare(self, method: str, seen: Sequence[_Seen]) -> None:
        """Compare clean and attacked maps, each pair of explained classes once.

        Args:
            method: of the explainer.
            seen: the attacked images, ε after ε.
        """
        settings, levels = self.settings, len(self.settings.epsilons)
        done: list[tuple[str, Tensor, Tensor]] = []  # policies and their classes
        for policy in settings.policies:
            clean = self.clean.views[method, policy]
            attacked = [each.views[method, policy] for each in seen]
            before = clean.classes.repeat(levels)
            after = torch.cat([each.classes for each in attacked])
            left = torch.ones_like(after, dtype=torch.bool)
            known = []
            for other, other_before, other_after in done:
                same = left & (before == other_before) & (after == other_after)
                known.append((other, same))
                left &= ~same
            done.append((policy, before, after))
            for layer in settings.layers:
                maps = torch.cat([each.maps[layer] for each in attacked])
                pair = clean.maps[layer].repeat(levels, 1, 1)[left], maps[left]
                found = {"nissim": nissim_of_maps(*pair, settings.grid, settings.ssim)}
                if layer == settings.last and settings.statistics:
                    found |= map_statistics(*pair, settings.ssim, settings.grid, settings.common)
                for name, values in found.items():
                    whole = values.new_zeros(len(after)).masked_scatter(left, values)
                    for other, same in known:
                        theirs = self._found[Key(name, method, other, layer)][-1].flatten()
                        whole = torch.where(same, theirs, whole)
                    self._keep(name, method, policy, layer, whole)
                dead = torch.cat([each.dead[layer] for each in attacked])
                self._keep("attacked_dead", method, policy, layer, dead)
                some = None if layer == settings.last else self.kept
                self._keep("attacked_maps", method, policy, layer, maps, some)

    def _keep(
        self,
        name: str,
        method: str,
        policy: str,
        layer: str,
        values: Tensor,
        some: Tensor | None = None,
    ) -> None:
        """Keep what was found of the attacked images, (E · N, …), all or some of the N."""
        by_level = values.reshape(-1, len(self.images), *values.shape[1:])
        by_level = by_level if some is None else by_level[:, some]
        self._found[Key(name, method, policy, layer)].append(by_level)

    def _explain(self, pixels: Tensor, losses: Sequence[Loss] = ()) -> tuple[_Seen, list[Tensor]]:
        """What the classifier sees in k · N images; and the gradients of losses by the pixels."""
        times = len(pixels) // len(self.images)
        targets = {policy: self._targets[policy] for policy in self.settings.policies}
        classes = [None if each is None else each.repeat(times) for each in targets.values()]
        seen: dict[str, list[Explanation]] = {}
        gradients: list[Tensor] = []
        for sharing in _sharing(self.explainers):
            wanted = () if gradients else losses
            found, own = sharing[0].explain_together(
                sharing, self.clf, pixels, classes, self.settings.layers, wanted
            )
            gradients = gradients or own
            seen |= {each.name: views for each, views in zip(sharing, found, strict=True)}
        views = {
            (explainer.name, policy): view
            for explainer in self.explainers
            for policy, view in zip(targets, seen[explainer.name], strict=True)
        }
        logits = next(iter(views.values())).logits
        predicted = self.clf.outputs.predicted(logits, self.labels.repeat(times))
        confidence = self.clf.outputs.confidence(logits, predicted)
        return _Seen(views, logits, predicted, confidence), gradients


def _sharing(explainers: Sequence[Explainer]) -> list[list[Explainer]]:
    """Explainers by the passes that they can share, in order of the first of each."""
    groups: dict[object, list[Explainer]] = defaultdict(list)
    for explainer in explainers:
        groups[explainer.explain_together.__func__].append(explainer)  # type: ignore[attr-defined]
    return list(groups.values())


def _batches(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


def _stored(found: Mapping[str, Perturbation]) -> dict[str, Perturbation]:
    return {name: each.in_memory() for name, each in found.items()}

"""The kinds of charts that a run may have."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lookaway.analysis.frames import Frames
from lookaway.report import curves, distributions
from lookaway.report.by_class import excess_by_class


def _layers(frames: Frames) -> bool:
    return frames.several_layers


def _enrolled(frames: Frames) -> list[str]:
    return frames.galleries


@dataclass(frozen=True)
class Chart:
    """A kind of chart: what it shows, how to read it, and its specification."""

    title: str
    note: str
    spec: Callable[..., dict[str, Any]]
    by_policy: bool = True
    first: bool = False  # only the first attack and variant are shown
    of: Callable[[Frames], object] = lambda frames: True  # whether a run has it


CHARTS = {
    "accuracy": Chart(
        "Accuracy over ε",
        "Share of test images whose predicted class is the true one; ε = 0 is the clean image.",
        curves.accuracy,
        by_policy=False,
    ),
    "mod": Chart(
        "MOD over ε",
        "Mean dissimilarity of the clean and the attacked heatmap, beside that under noise.",
        curves.mod,
    ),
    "excess": Chart(
        "Excess shift over ε",
        "What the attack adds to the shift that noise of the same ε causes; 0 is nothing.",
        curves.excess,
    ),
    "excess_by_class": Chart(
        "Excess shift of each class over ε",
        "Of each true class alone, each model under its own attack; 0 is nothing.",
        excess_by_class,
        of=lambda frames: not frames.by_class.is_empty(),
        first=True,
    ),
    "beside_noise": Chart(
        "MOD of each model beside noise",
        "Dashes: noise of the same size. Dots: the shuffled baseline.",
        curves.beside_noise,
    ),
    "nissim": Chart(
        "NISSIM of the images, by model and ε",
        "How the dissimilarity is distributed over the images: filled under the model's own "
        "attack, dashed under noise.",
        distributions.nissim,
        first=True,
    ),
    "words": Chart(
        "What became of the heatmaps, by ε",
        "The share of images whose heatmap stayed, moved, spread, shrank, was inverted or died.",
        distributions.words,
    ),
    "transfer": Chart(
        "Transferability at the largest ε",
        "Rows: the model that made the perturbation; columns: the attacked model. Shades go from 0 "
        "(nothing lost, nothing moved) to the most of each matrix; hatched: not run.",
        distributions.transfer,
        of=lambda frames: frames.sources,
        first=True,
    ),
    "psnr": Chart(
        "PSNR over ε",
        "How strong the change of the pixels is, peak 1; higher is weaker.",
        curves.psnr,
        by_policy=False,
    ),
    "mod_by_depth": Chart(
        "MOD over depth",
        "Every explained layer, from the first to the last, at the largest ε.",
        curves.mod_by_depth,
        of=_layers,
    ),
    "excess_by_depth": Chart(
        "Excess shift over depth",
        "What the attack adds to noise in every layer, at the largest ε.",
        curves.excess_by_depth,
        of=_layers,
    ),
    "dead_by_depth": Chart(
        "Dead maps over depth",
        "The share of attacked images whose map holds no evidence for the class.",
        curves.dead_by_depth,
        of=_layers,
    ),
    "fnmr": Chart(
        "Genuine comparisons lost over ε",
        "FNMR at the threshold of the smallest clean FMR that the study can fix, beside noise.",
        curves.fnmr,
        by_policy=False,
        of=_enrolled,
    ),
    "impersonated": Chart(
        "Impersonations that succeed over ε",
        "Probes that match the template at which the attack aims, at the same threshold.",
        curves.impersonated,
        by_policy=False,
        of=lambda frames: frames.galleries and frames.targeted,
    ),
    "similarities": Chart(
        "Similarities at the largest ε",
        "Cosines of test images with their own template, with those of others and, where an attack "
        "aims at one, with the target's. Of the first gallery.",
        distributions.similarities,
        by_policy=False,
        of=_enrolled,
    ),
    "det": Chart(
        "DET curves at the largest ε",
        "FNMR against FMR over all thresholds; an FNMR of 0 is drawn at half a comparison.",
        curves.det,
        by_policy=False,
        of=_enrolled,
    ),
}

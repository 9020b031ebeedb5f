"""What a run says to the paper's claims, as Markdown tables: ``python docs/claims.py runs/RUN``.

Models that are right on less than 80 % of the clean test images are left out of the comparisons.
"""

import sys
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import spearmanr

import lookaway as la
from lookaway.analysis.families import DEEP, WIDE, families
from lookaway.analysis.intervals import Bootstrap
from lookaway.analysis.studentised import studentised
from lookaway.report.again import is_beyond
from lookaway.result import Result

LEAST = 0.8  # of the clean test images must be right
_FEW = 3


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


class Claims:
    """One variant of a run's images under one kind of perturbation.

    Args:
        result: the run.
        variant: of the images.
        attack: the name of one of the study's.
        source: whose perturbations all models meet; None: each model its own.
    """

    def __init__(self, result: Result, variant: str, attack: str, source: str | None) -> None:
        self.result, self.variant, self.name = result, variant, attack
        plan = result.plan
        self.marks = families(plan)
        self.epsilons: list[float] = plan.settings.epsilons
        last = pl.col("model").replace_strict(plan.last_layers, return_dtype=pl.String)
        made = pl.col("model") if source is None else pl.lit(source)
        rows = result.rows().filter(
            pl.col("layer") == last,
            variant=variant,
            explained_class="own",
            method=plan.methods[0],
        )
        self.attack = rows.filter(pl.col("source") == made, pl.col("attack") == attack)
        self.noise = rows.filter(pl.col("attack") == "noise")
        once = self.attack.filter(epsilon=self.epsilons[0])
        right = once.group_by("model").agg((pl.col("clean_class") == pl.col("label")).mean())
        self.clean: dict[str, float] = dict(right.iter_rows())
        self.models = [model for model in self.marks if self.clean[model] >= LEAST]
        labels = dict(once.select("image", pl.col("label").cast(pl.String)).iter_rows())
        self.images = sorted(labels)
        self.resamples = Bootstrap([labels[image] for image in self.images])

    def matrix(self, frame: pl.DataFrame, model: str, epsilon: float, value: pl.Expr) -> np.ndarray:
        """(N,) one number an image, images in order."""
        found = frame.filter(model=model, epsilon=epsilon).sort("image")
        return found.select(value.cast(pl.Float64)).to_series().to_numpy()

    def right(self, frame: pl.DataFrame, model: str, epsilon: float) -> np.ndarray:
        """(N,) whether attacked images are classified rightly, 1 or 0."""
        return self.matrix(frame, model, epsilon, pl.col("attacked_class") == pl.col("label"))

    def nissim(self, frame: pl.DataFrame, model: str, epsilon: float) -> np.ndarray:
        """(N,) NISSIM of each image."""
        return self.matrix(frame, model, epsilon, pl.col("nissim"))

    def by_epsilon(self) -> str:
        """Accuracy and MOD over ε, with what noise of the same size does."""
        rows = []
        for model in self.marks:
            clean = self.clean[model]
            accuracy = [self.right(self.attack, model, e).mean() for e in self.epsilons]
            under_noise = self.right(self.noise, model, self.epsilons[-1]).mean()
            mods = [self.nissim(self.attack, model, e).mean() for e in self.epsilons]
            noise = self.nissim(self.noise, model, self.epsilons[-1]).mean()
            mark = self.marks[model] or "–"
            left = "" if clean >= LEAST else " (left out)"
            rows.append(
                [
                    f"{model}, {mark}{left}",
                    " ".join(f"{100 * a:.0f}" for a in [clean, *accuracy]),
                    f"{100 * under_noise:.0f}",
                    " ".join(f"{m:.3f}" for m in mods),
                    f"{noise:.3f}",
                    "yes" if _falls([clean, *accuracy]) else "no",
                    "yes" if _falls([-m for m in mods]) else "no",
                ]
            )
        heads = [
            "model", "accuracy over ε, 0 first (%)", "under noise, top ε", "MOD over ε",
            "under noise, top ε", "accuracy never rises", "MOD never falls",
        ]  # fmt: skip
        return table(heads, rows)

    def deep_and_wide(self) -> str:
        """The fall of accuracy and MOD of wide less deep networks, with 95 % intervals."""
        groups = {
            mark: [model for model in self.models if self.marks[model] == mark]
            for mark in (DEEP, WIDE)
        }
        if not all(groups.values()):
            return "A deep and a wide network of at least 80 % are needed.\n"
        rows = []
        for epsilon in self.epsilons:
            fall = {
                mark: np.mean(
                    [
                        self.matrix(
                            self.attack, m, epsilon, pl.col("clean_class") == pl.col("label")
                        )
                        - self.right(self.attack, m, epsilon)
                        for m in models
                    ],
                    axis=0,
                )
                for mark, models in groups.items()
            }
            shift = {
                mark: np.mean([self.nissim(self.attack, m, epsilon) for m in models], axis=0)
                for mark, models in groups.items()
            }
            rows.append(
                [
                    f"{epsilon:g}",
                    _shown(100 * (fall[WIDE] - fall[DEEP]), self.resamples, "+.1f"),
                    _shown(shift[WIDE] - shift[DEEP], self.resamples, "+.3f"),
                ]
            )
        heads = ["ε", "wide fall further than deep by (points)", "MOD of wide less deep"]
        return table(heads, rows)

    def shift_and_fall(self) -> str:
        """Whether models that shift less fall less: Spearman's correlation over the models."""
        rows = []
        for epsilon in self.epsilons:
            mods = [self.nissim(self.attack, m, epsilon).mean() for m in self.models]
            falls = [
                self.clean[m] - self.right(self.attack, m, epsilon).mean() for m in self.models
            ]
            rho = spearmanr(mods, falls).statistic if len(set(falls)) > 1 else float("nan")
            rows.append([f"{epsilon:g}", "–" if np.isnan(rho) else f"{rho:+.2f}"])
        return table(["ε", f"correlation over {len(self.models)} models"], rows)

    def at_equal_shift(self) -> str:
        """Accuracy at the same MOD, between measured points; a dash where a model has none there.

        MODs below a model's first are between ε = 0 and its first ε, where nothing was measured.
        """
        points = {}
        for model in self.models:
            mods = [self.nissim(self.attack, model, e).mean() for e in self.epsilons]
            right = [self.right(self.attack, model, e).mean() for e in self.epsilons]
            points[model] = np.maximum.accumulate(mods), right
        least, most = ([float(mods[end]) for mods, _ in points.values()] for end in (0, -1))
        levels = sorted({round(at, 3) for at in (max(least), float(np.median(most)), max(most))})
        rows = [
            [
                f"{m}, {self.marks[m] or '–'}",
                *(
                    f"{100 * np.interp(at, *points[m]):.0f}"
                    if points[m][0][0] <= at <= points[m][0][-1]
                    else "–"
                    for at in levels
                ),
            ]
            for m in self.models
        ]
        return table(["model", *(f"accuracy (%) at MOD {at:g}" for at in levels)], rows)

    def stability(self) -> str:
        """VID, spread, and how far the distribution moves."""
        vid = self.result.vid().filter(variant=self.variant, explained_class="own", pairs="all")
        rows = []
        for model in self.models:
            layer = self.result.plan.last_layers[model]
            source = self.attack.filter(model=model)["source"][0]
            found = vid.filter(
                model=model,
                layer=layer,
                source=source,
                attack=self.name,
                method=self.result.plan.methods[0],
            ).row(0, named=True)
            nissim = [self.nissim(self.attack, model, e) for e in self.epsilons]
            rows.append(
                [
                    model,
                    f"{found['vid']:.3f} ({found['low']:.3f} to {found['high']:.3f})",
                    " ".join(f"{values.std():.3f}" for values in nissim),
                    _shown(nissim[-1] - nissim[0], self.resamples, "+.3f"),
                ]
            )
        heads = [
            "model",
            "VID, per image",
            "spread at each ε",
            "MOD at the top ε less at the first",
        ]
        return table(heads, rows)

    def looks(self) -> str:
        """What became of the looks at the top ε: shares of the images."""
        words = ["stayed", "moved", "spread", "shrank", "inverted", "died"]
        each = self.result.direction(per="image").filter(
            variant=self.variant, explained_class="own", epsilon=self.epsilons[-1]
        )
        mine, noise = pl.col("attack") == self.name, pl.col("attack") == "noise"
        rows = []
        for model in self.models:
            source = self.attack.filter(model=model)["source"][0]
            for name, chosen in (
                (model, each.filter(mine, model=model, source=source)),
                (f"{model}, noise", each.filter(noise, model=model)),
            ):
                shares = [float((chosen["look"] == word).mean() or 0.0) for word in words]
                rows.append([name, *(f"{100 * share:.0f}" for share in shares)])
        return table(["model", *(f"{word} (%)" for word in words)], rows)

    def headings(self) -> str:
        """Whether looks move the same way: over the images, and on one image over the models."""
        each = self.result.direction(per="image").filter(
            variant=self.variant,
            explained_class="own",
            epsilon=self.epsilons[-1],
            attack=self.name,
        )
        ways: dict[str, dict[str, complex]] = {}
        rows = []
        for model in self.models:
            source = self.attack.filter(model=model)["source"][0]
            moved = each.filter(
                pl.col("right").is_not_null(), (pl.col("right") != 0) | (pl.col("down") != 0),
                model=model, source=source,
            )  # fmt: skip
            steps = moved["right"].to_numpy() + 1j * moved["down"].to_numpy()
            if not len(steps):
                rows.append([model, *["–"] * 5])
                continue
            ways[model] = dict(zip(moved["image"], steps / np.abs(steps), strict=True))
            length = abs(np.mean(steps / np.abs(steps)))
            those = Bootstrap(moved["label"].cast(pl.String).to_list())
            others = [m for m in ways if m != model]
            rows.append(
                [
                    model,
                    _shown(100 * steps.real, those, "+.1f"),
                    _shown(100 * steps.imag, those, "+.1f"),
                    f"{length:.2f}",
                    f"{np.exp(-len(steps) * length**2):.3f}",
                    ", ".join(f"{m} {_agreement(ways[m], ways[model]):+.2f}" for m in others)
                    or "–",
                ]
            )
        heads = [
            "model", "right (% of the side)", "down", "common heading (0 none, 1 all the same)",
            "p of none", "cosine with the models above, image by image",
        ]  # fmt: skip
        return table(heads, rows)


def _agreement(first: dict[str, complex], second: dict[str, complex]) -> float:
    """The mean cosine of two models' headings on the images that both have."""
    both = sorted(first.keys() & second.keys())
    if not both:
        return 0.0
    return float(np.mean([(first[image] * np.conj(second[image])).real for image in both]))


def controlled(result: Result, variant: str) -> str:
    """What each attack adds to its controls, white-box, the clean image's class held fixed."""
    plan = result.plan
    rows = []
    for model, layer in plan.last_layers.items():
        same = {"model": model, "variant": variant}
        policy = {**same, "explained_class": "clean", "method": plan.methods[0]}
        right = result.accuracy().filter(**same)
        beyond = result.excess().filter(source=model, layer=layer, pairs="all", **policy)
        aimed = result.aimed().filter(source=model, pairs="all", control="shifted", **policy)
        parts = result.decomposition().filter(source=model, measure="equal outcome", **policy)
        dead = result.dead().filter(source=model, layer=layer, measure="one dead", **policy)
        for attack in plan.attacks:
            for epsilon in plan.settings.epsilons:
                at = {"attack": attack, "epsilon": epsilon}
                (noise,) = beyond.filter(**at).iter_rows(named=True)
                (shape,) = aimed.filter(**at).iter_rows(named=True)
                shifted = f"shifted of {attack}"
                held = [
                    right.filter(at_ & (pl.col("attack") == name)).item(0, "accuracy")
                    for at_, name in (
                        ((pl.col("epsilon") == epsilon) & (pl.col("source") == model), attack),
                        (pl.col("epsilon") == epsilon, noise["control"]),
                        (pl.col("epsilon") == epsilon, shifted),
                    )
                ]
                equal = parts.filter(**at)
                rows.append(
                    [
                        model,
                        attack,
                        f"{epsilon:g}",
                        " / ".join(f"{100 * share:.0f}" for share in held),
                        f"{100 * dead.filter(**at).item(0, 'value'):.0f}",
                        f"{noise['mod']:.3f}",
                        _ends(noise, "excess"),
                        _ends(shape, "aimed"),
                        *(
                            _ends(equal.filter(control=name).row(0, named=True), "value")
                            for name in (noise["control"], shifted)
                        ),
                    ]
                )
    heads = [
        "model",
        "attack",
        "ε",
        "right under it / noise / shifted (%)",
        "one map dead (%)",
        "MOD",
        "less noise",
        "less shifted",
        "less noise, at equal outcome",
        "less shifted, at equal outcome",
    ]
    return table(heads, rows)


def _ends(row: dict[str, Any], name: str) -> str:
    """A number of a frame with its 95 % interval."""
    value, low, high = row[name], row["low"], row["high"]
    if value is None:
        return "–"
    return f"{value:+.3f}" if low is None else f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


def over_trainings(result: Result, variant: str) -> str:
    """What holds of networks whatever their training, white-box, the clean class held fixed.

    Intervals are over trainings and images.
    """
    chosen = {"variant": variant, "explained_class": "clean", "method": result.plan.methods[0]}
    measures = ("accuracy", "mod", "excess", "aimed")
    parts = []
    for attack in result.plan.attacks:
        own = {**chosen, "scope": f"{attack} white-box"}
        found = result.networks().filter(pl.col("epsilon").is_not_null(), **own)
        rows = []
        for key in found.select("network", "epsilon").unique(maintain_order=True).iter_rows():
            of = found.filter(network=key[0], epsilon=key[1])
            cells = [
                of.row(by_predicate=pl.col("measure") == name, named=True) for name in measures
            ]
            rows.append([key[0], f"{key[1]:g}", *(_over(cell) for cell in cells)])
        heads = ["network", "ε", "accuracy", "MOD", "less noise", "less shifted"]
        parts.append(table(heads, rows))
        apart = [
            [
                f"{row['network_a']} less {row['network_b']}",
                f"{row['epsilon']:g}",
                row["measure"],
                f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})",
                f"{row['between_trainings']:.3f}",
            ]
            for row in result.networks("pair").filter(**own).iter_rows(named=True)
            if row["measure"] in measures[1:] and is_beyond(row)
        ]
        heads = ["networks that differ", "ε", "in", "by", "two trainings of one differ by"]
        parts.append(table(heads, apart) if apart else "No two networks differ.\n")
    return "\n".join(parts)


def _over(row: dict[str, Any]) -> str:
    """A mean over trainings with its interval, and what single trainings gave."""
    ends = f"{row['low']:.3f} to {row['high']:.3f}" if row["low"] is not None else "–"
    return f"{row['mean']:.3f} ({ends}), {row['smallest']:.3f} … {row['largest']:.3f}"


def preparation(result: Result, source: str | None) -> str:
    """Accuracy of the second variant less that of the first, on the same images."""
    variants = result.plan.settings.data.variants
    attack = result.plan.attacks[0]
    first, second = (Claims(result, name, attack, source) for name in variants[:2])
    rows = []
    for model in first.marks:
        shared = sorted(set(first.images) & set(second.images))
        shown = []
        for epsilon in (None, *first.epsilons):
            values = []
            for claims in (first, second):
                frame = claims.attack.filter(
                    pl.col("image").is_in(shared),
                    model=model,
                    epsilon=epsilon or claims.epsilons[0],
                ).sort("image")
                predicted = "attacked_class" if epsilon else "clean_class"
                values.append((frame[predicted] == frame["label"]).cast(pl.Float64).to_numpy())
            labels = Bootstrap(frame["label"].cast(pl.String).to_list())
            shown.append(_shown(100 * (values[1] - values[0]), labels, "+.1f"))
        rows.append([model, *shown])
    heads = ["model", *(f"ε = {e:g}" for e in (0, *first.epsilons))]
    return f"{variants[1]} less {variants[0]}, points:\n\n" + table(heads, rows)


def _falls(values: Sequence[float]) -> bool:
    return all(after <= before for before, after in pairwise(values))


def _shown(values: np.ndarray, images: Bootstrap, form: str) -> str:
    """A mean with its 95 % interval; whole classes are drawn where there are 20 or more.

    Of a few values, as what two accuracies differ by, percentiles: a resample in which hardly any
    image differs has next to no standard error to divide by.
    """
    counts = np.ones((len(values), 1))
    if len(np.unique(values)) > _FEW:
        (((low,), (high,)), _) = next(studentised(images, values[:, None], counts))
    else:
        (low,), (high,) = images.bounds(images.ratios(values[:, None], counts))
    ends = "" if low is None or high is None else f" ({low:{form}} to {high:{form}})"
    return f"{values.mean():{form}}{ends}"


def main(folder: Path) -> str:
    """Every table, for each variant, white-box and in transfer."""
    result = la.open_result(folder)
    sources = [None, *result.plan.settings.transfer_from]
    parts = []
    for variant in result.plan.settings.data.variants:
        if not result.networks().is_empty():
            parts += [f"## Images: {variant}; over trainings\n", over_trainings(result, variant)]
        if result.plan.settings.controls.shifted:
            parts += [
                f"## Images: {variant}; attacks and their controls\n",
                controlled(result, variant),
            ]
        for attack, source in product(result.plan.attacks, sources):
            claims = Claims(result, variant, attack, source)
            whose = f"under {source}'s perturbations" if source else "white-box"
            parts += [f"## Images: {variant}; {attack}, {whose}\n", claims.by_epsilon()]
            if not claims.models:
                parts.append(f"No model is right on {LEAST:.0%} of the clean images.\n")
                continue
            parts += [
                claims.deep_and_wide(),
                claims.shift_and_fall(),
                claims.at_equal_shift(),
                claims.stability(),
                claims.looks(),
                claims.headings(),
            ]
    if len(result.plan.settings.data.variants) > 1:
        parts += [f"## Preparation\n\n{preparation(result, source)}" for source in sources[-1:]]
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(main(Path(sys.argv[1])))

"""Which figures a run has, by name."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from lookaway.analysis.frames import Frames
from lookaway.errors import InputError
from lookaway.places import AnyPath
from lookaway.report import image_panels, wording
from lookaway.report.chart_kinds import CHARTS, Chart
from lookaway.report.figure import FORMATS, Figure, Planned
from lookaway.report.layout import LAYOUTS
from lookaway.report.mean_heatmaps import mean_figure, mean_heatmaps
from lookaway.report.options import Options
from lookaway.report.pair_views import PairViews, pair_figure
from lookaway.report.paper.figures import paper_figures
from lookaway.report.pictured import PicturedImages
from lookaway.report.wording import (
    attack_ending,
    first_attack,
    first_images,
    isolated,
    method_ending,
)
from lookaway.study.files import Files
from lookaway.study.keys import stems

_MEANS = "Mean heatmaps, and what was lost and gained"
_IMAGES = "One image in every model"
_LAYERS = "One image in every layer of"
_PAIRS = "Comparisons that an attack changed, and some that held, of"


class Figures:
    """A run's figures, each made when it is asked for."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._planned = {planned.name: planned for planned in self._found()}

    def titles(self) -> dict[str, str]:
        """Each figure's name and what it shows."""
        return {name: planned.title for name, planned in self._planned.items()}

    def named(self, name: str) -> list[str]:
        """The figures that a name means: one, or all of a kind, such as ``mod``.

        Raises:
            InputError: there is none; it lists what there is.
        """
        found = [name] if name in self._planned else []
        found = found or [one.name for one in self._planned.values() if one.kind == name]
        if not found:
            kinds = [one.kind for one in self._planned.values()]
            listed = ", ".join(dict.fromkeys([*kinds, *self._planned]))
            raise InputError(f"the run has no figure {name!r}; possible: {listed}")
        return found

    def figure(self, name: str, options: Options | None = None) -> Figure:
        """A figure; of a kind with one for each explained class, that of the headlines.

        Args:
            name: of a figure or a kind.
            options: how it is drawn; None: two columns wide.

        Raises:
            InputError: there is no such figure or image.
        """
        return self._planned[self.named(name)[0]].make(options or Options())

    def charts(self) -> Iterator[Figure]:
        """Every chart, two columns wide."""
        for planned in self._planned.values():
            if planned.kind in CHARTS:
                yield planned.make(Options())

    def _found(self) -> Iterator[Planned]:
        frames = self._frames
        for kind, chart in CHARTS.items():
            if not chart.of(frames):
                continue
            for view in self._views(attacks=chart.first, methods=chart.by_policy):
                for policy in frames.ordered_policies if chart.by_policy else [None]:
                    depends = {"of_attack": chart.first, "of_method": chart.by_policy}
                    yield Planned(
                        kind,
                        figure_name(view, kind, policy, **depends),
                        _titled(view, chart.title, policy, **depends),
                        partial(_chart, chart, view, policy),
                        policy,
                        view.method if chart.by_policy else "",
                        view.attack if chart.first else "",
                    )
        yield from self._by_policy("mean_heatmaps", _MEANS, _means)
        if frames.settings.explain.pictured:
            yield from self._pictured()
        yield from paper_figures(frames)

    def _by_policy(
        self, kind: str, title: str, draw: Callable[[Frames, str, Options], tuple[str, Any]]
    ) -> Iterator[Planned]:
        """A figure for each attack, method and explained class."""
        for view in self._views():
            for policy in self._frames.ordered_policies:
                name, whole = figure_name(view, kind, policy), _titled(view, title, policy)
                yield Planned(kind, name, whole, partial(draw, view, policy), policy)

    def _views(self, *, attacks: bool = True, methods: bool = True) -> list[Frames]:
        """The run as each of its attacks and methods has it, the first ones first."""
        frames = self._frames
        return [
            frames.of(method, attack)
            for attack in (frames.attacks if attacks else [frames.attack])
            for method in (frames.methods if methods else [frames.method])
        ]

    def _pictured(self) -> Iterator[Planned]:
        frames = self._frames
        yield from self._by_policy("images", _IMAGES, _images)
        for view in self._views(methods=False) if frames.galleries else ():
            for model in frames.galleries:
                of = "" if len(frames.galleries) == 1 else f"_{stems(frames.galleries)[model]}"
                name = figure_name(view, f"pairs{of}", of_method=False)
                title = _titled(view, f"{_PAIRS} {isolated(model)}", None, of_method=False)
                draw = partial(_pairs, view, model)
                yield Planned("pairs", name, title, draw, attack=view.attack)
        for view in self._views() if frames.several_layers else ():
            for place, model in enumerate(frames.models):
                plain = re.sub(r"[^A-Za-z0-9.-]+", "-", model)[:40].strip("-.")
                name = figure_name(view, f"layers_{place + 1}_{plain}".rstrip("_"))
                title = _titled(view, f"{_LAYERS} {isolated(model)}", frames.policy)
                draw = partial(_layers, view, model)
                yield Planned("layers", name, title, draw, frames.policy)


def _chart(
    chart: Chart, view: Frames, policy: str | None, options: Options
) -> tuple[str, dict[str, Any]]:
    layout = LAYOUTS[options.columns]
    given = (view, policy, layout) if policy else (view, layout)
    return _of_first(view, chart.note) if chart.first else chart.note, chart.spec(*given)


def _means(view: Frames, policy: str, options: Options) -> tuple[str, Any]:
    note = "Purple: participation that was lost; green: gained."
    panels = mean_figure(mean_heatmaps(view, policy), options)
    return _of_first(view, note, images=False), panels


def _images(view: Frames, policy: str, options: Options) -> tuple[str, Any]:
    note = (
        "Each model under its own perturbations: prediction, confidence, NISSIM; wrong "
        "predictions have a cross."
    )
    panels = image_panels.every_model(view, PicturedImages(view), policy, options)
    return _of_first(view, note), panels


def _pairs(view: Frames, model: str, options: Options) -> tuple[str, Any]:
    pairs = PairViews(view)
    found = pairs.of(model, view.attack, options, options.image)
    if not found:
        raise InputError(f"the run keeps no pairs of {model!r} under {view.attack}")
    note = pairs.note(model)
    return note, pair_figure(found, note, options)


def _layers(view: Frames, model: str, options: Options) -> tuple[str, Any]:
    panels = image_panels.every_layer(view, PicturedImages(view), model, view.policy, options)
    count = len(image_panels.shown_layers(view, model))
    every = len(view.plan.explained_layers(model))
    note = "Rows: layers from the first to the last; columns: clean, then each ε."
    if count < every:
        note += f" {count} evenly spaced ones of {every}."
    return _of_first(view, note), panels


def figure_name(
    view: Frames,
    kind: str,
    policy: str | None = None,
    *,
    of_attack: bool = True,
    of_method: bool = True,
) -> str:
    """The name of a figure: its kind, explained class, and where there are several the rest."""
    attack, method = attack_ending(view) * of_attack, method_ending(view) * of_method
    return f"{kind}{f'_{policy}' if policy else ''}{attack}{method}"


def _titled(
    view: Frames,
    title: str,
    policy: str | None,
    *,
    of_attack: bool = True,
    of_method: bool = True,
) -> str:
    attack = f", attack: {view.attack}" if of_attack and len(view.attacks) > 1 else ""
    explained = f", explained class: {policy}" if policy else ""
    return f"{title}{attack}{explained}{wording.of_method(view) if of_method else ''}"


def _of_first(view: Frames, note: str, *, images: bool = True) -> str:
    """A note with what is shown, where the study has several attacks or variants."""
    parts = [note, first_attack(view)]
    parts += [first_images(view)] if images else []
    return " ".join(filter(None, parts))


def write_figures(
    frames: Frames,
    folder: str | AnyPath,
    formats: Sequence[str],
    only: Sequence[str] = (),
    options: Options | None = None,
) -> list[AnyPath]:
    """Write figures of a run; those of one column have ``-1col`` in their names.

    Args:
        frames: of the run.
        folder: where to.
        formats: any of pdf, svg and png.
        only: names of figures or kinds; none: all.
        options: how they are drawn; None: two columns wide.

    Returns:
        The files, in order.

    Raises:
        InputError: there is no such format, figure or image.
        StoreError: the folder cannot be written.
    """
    for kind in formats:
        if kind not in FORMATS:
            raise InputError(f"got the format {kind!r}; possible: {', '.join(FORMATS)}")
    if not formats:
        raise InputError(f"got no format; possible: {', '.join(FORMATS)}")
    known, options, files = Figures(frames), options or Options(), Files(folder)
    names = list(dict.fromkeys(one for name in only for one in known.named(name)))
    found = []
    for name in names if only else known.titles():
        figure = known.figure(name, options)
        for kind in formats:
            file = f"{name}{'' if options.columns == 2 else '-1col'}.{kind}"
            files.write_bytes(file, figure.content(kind))
            found.append(files.folder / file)
    return found

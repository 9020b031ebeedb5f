"""Comparisons to look at: what on probe and reference speaks for a match, and against it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lookaway.analysis.frames import Frames
from lookaway.data.pixels import channels_last
from lookaway.errors import InputError, StoreError
from lookaway.report.options import Options
from lookaway.report.overlays import heatmap_on, shrunk
from lookaway.report.panels import Panel, mosaic, panel_rows
from lookaway.report.pictured import Pictured, PicturedImages
from lookaway.report.wording import isolated
from lookaway.study.keys import picture_name
from lookaway.study.pairs import KINDS, SIDES, STATES, read_pairs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIDE = 112  # px, of an image
_ABOUT = (
    "The probe's maps explain its cosine with the person's template; those of the reference, the "
    "enrolled image that is nearest to the template, its cosine with the probe. Of an image the "
    "maps for and against a match have one scale; where nothing on it does, it has no colours."
)


@dataclass(frozen=True)
class State:
    """A pair, clean, under noise or under attack.

    Attributes:
        title: which.
        told: the cosine with the template, and what is decided.
        rows: of probe and reference what it is called, the image (H, W, 3) in [0, 1], and what
            speaks for a match and against it laid over the image.
    """

    title: str
    told: str
    rows: tuple[tuple[str, tuple[np.ndarray, np.ndarray, np.ndarray]], ...]


@dataclass(frozen=True)
class PairView:
    """A comparison to look at.

    Attributes:
        attack: under which.
        outcome: what became of it; empty where no threshold can be fixed.
        title: probe, person and outcome.
        image: the probe's name.
        states: clean, under noise, under attack.
    """

    attack: str
    outcome: str
    title: str
    image: str
    states: tuple[State, ...]


class PairViews:
    """The pairs of a run's galleries, on its first variant."""

    def __init__(self, frames: Frames) -> None:
        self._frames, self._variant = frames, frames.variants[0]
        self._pictured = PicturedImages(frames.of(frames.methods[0], frames.attack))
        self._images = {image.image: image for image in self._pictured.images}

    @cached_property
    def _kept(self) -> dict[str, tuple[list[dict[str, Any]], np.ndarray]]:
        """Rows and maps by gallery."""
        found = {}
        for name in self._frames.galleries:
            store = self._frames.store
            if (read := read_pairs(store, store.identity.model(self._variant, name))) is not None:
                found[name] = read[0].to_dicts(), read[1]
        return found

    def note(self, model: str) -> str:
        """How a gallery's pairs are to be read; empty where it has none."""
        if model not in self._kept:
            return ""
        (row, *_), maps = self._kept[model]
        size = "×".join(map(str, maps.shape[-2:]))
        return f"Layer {row['layer']} ({size} positions). {_ABOUT}"

    def of(
        self, model: str, attack: str, options: Options | None = None, image: str | None = None
    ) -> list[PairView]:
        """A gallery's pairs under one of its attacks.

        Args:
            model: the gallery.
            attack: its name.
            options: the colours, and whether maps are laid over images.
            image: only those of this probe; None: all.

        Raises:
            InputError: no pair has this probe.
            StoreError: something stored is missing or damaged.
        """
        rows, maps = self._kept.get(model, ([], np.empty(0)))
        mine = [place for place, row in enumerate(rows) if row["attack"] == attack]
        chosen = [place for place in mine if image in (None, rows[place]["image"])]
        if image is not None and not chosen:
            known = ", ".join(repr(rows[place]["image"]) for place in mine)
            raise InputError(f"no pair under {attack} has the probe {image!r}; possible: {known}")
        return [self._view(rows[place], maps[place], options or Options()) for place in chosen]

    def _view(self, row: Mapping[str, Any], maps: np.ndarray, options: Options) -> PairView:
        probe = self._images.get(row["image"])
        if probe is None:
            raise StoreError(f"the pair {row['image']!r} is of no pictured image of the run")
        reference = self._reference(row["reference_sha256"])
        states = tuple(
            self._state(row, place, self._probe(probe, row, state), reference, maps[place], options)
            for place, state in enumerate(STATES)
        )
        person, outcome = isolated(row["person"]), row["outcome"] or ""
        title = f"{isolated(row['image'])} compared with {person}"
        if row["person"] != row["label"]:
            title += f" (another person than {isolated(row['label'])})"
        return PairView(row["attack"], outcome, title, row["image"], states)

    def _state(
        self,
        row: Mapping[str, Any],
        place: int,
        probe: np.ndarray,
        reference: np.ndarray,
        maps: np.ndarray,
        options: Options,
    ) -> State:
        sides = []
        names = (isolated(row["image"]), isolated(row["reference"]))
        for name, side, pixels, both in zip(names, SIDES, (probe, reference), maps, strict=True):
            small = shrunk(pixels, _SIDE)
            laid = [heatmap_on(small, heat, options) for heat in both]
            sides.append((f"{side} {name}", (small, laid[0], laid[1])))
        cosine = row[STATES[place]]
        told = f"cosine {cosine:.3f}"
        if row["threshold"] is not None:
            match = cosine >= row["threshold"]
            sign, decision = ("≥", "accepted") if match else ("<", "refused")
            told += f" {sign} {row['threshold']:.3f}: {decision}"
        epsilon = f"{row['epsilon']:g}"
        title = ("clean", f"noise, ε = {epsilon}", f"{row['attack']}, ε = {epsilon}")[place]
        return State(title, told, tuple(sides))

    def _probe(self, image: Pictured, row: Mapping[str, Any], state: str) -> np.ndarray:
        """(H, W, 3) in [0, 1]."""
        if state == "noise":
            return self._pictured.under_noise(image, row["attack"], row["model"], row["epsilon"])
        epsilon = row["epsilon"] if state == "attacked" else 0.0
        return self._pictured.attacked(image, row["attack"], row["model"], epsilon)

    def _reference(self, sha256: str) -> np.ndarray:
        path = self._frames.store.folder / picture_name(
            self._frames.store.identity.preparation(self._variant), sha256
        )
        try:
            with Image.open(BytesIO(path.read_bytes()), formats=("PNG",)) as stored:
                pixels = channels_last(stored if stored.mode == "L" else stored.convert("RGB"))
        except (OSError, ValueError) as error:
            told = f"{str(path)!r} is missing or damaged ({error}); run the study again"
            raise StoreError(told) from error
        return np.broadcast_to(pixels / 255.0, (*pixels.shape[:2], 3))


def pair_figure(views: Sequence[PairView], note: str, options: Options) -> "Figure":
    """Pairs below each other: probe and reference, each beside what speaks for and against.

    In one column without the noise.
    """
    rows = []
    for view in views:
        states = view.states if options.columns == 2 else (view.states[0], view.states[-1])
        tiles = [tile for side in range(len(SIDES)) for s in states for tile in s.rows[side][1]]
        heads = [head for state in states for head in (_short(state.title), *KINDS)]
        panel = Panel(
            mosaic(tiles, len(heads)),
            tuple(f"{state.title}: {state.told}" for state in states),
            rows=SIDES,
            columns=tuple(heads),
        )
        outcome = f"{view.outcome}: " if view.outcome else ""
        rows.append((f"{outcome}{view.title}", [panel]))
    return panel_rows(rows, options, note=note)


def _short(title: str) -> str:
    return title if title == "clean" else "noise" if title.startswith("noise") else "attacked"

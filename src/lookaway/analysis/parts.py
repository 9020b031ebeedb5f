"""A run's rows a part at a time: memory follows from the part, not from the run."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import polars as pl

from lookaway.study.json_files import Plan
from lookaway.study.store import Store

ROWS_AT_ONCE = 200_000  # a run of fewer is one part


class Parts:
    """How a run's rows are divided, and how a part is read.

    Args:
        store: the run's files.
        plan: the run's.
        only: names of the only images that count; None: all.
    """

    def __init__(self, store: Store, plan: Plan, only: Iterable[str] | None = None) -> None:
        self.store, self._plan = store, plan
        self.only = None if only is None else pl.Series(only, dtype=pl.String).implode()
        self.models = plan.models
        self.methods = plan.methods
        self.policies: list[str] = [*plan.settings.explain.explained_class]
        self._levels = plan.settings.epsilons
        self._attacks = plan.attacks
        self._sources = plan.settings.transfer_from
        self._shaped = plan.shaped_controls
        # As the files stand.
        self._variants: list[str] = sorted(plan.settings.data.variants)
        # Layers that only the pictured images have are few rows.
        self._few = plan.settings.explain.layers_of == "pictured"

    def split(
        self, *dimensions: str, last: bool = True, also: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """The parts of a run: what the rows of each have in common, in the order of the files.

        Args:
            dimensions: what they may differ in, of variant, model, method, layer, explained_class
                and epsilon, model before layer; no finer than needed for ``ROWS_AT_ONCE``.
            last: only the last layers are read.
            also: what all of them have in common.
        """
        found: list[dict[str, Any]] = [dict(also or {})]
        for dimension in dimensions:
            if self._rows(last=last) / len(found) <= ROWS_AT_ONCE:
                break
            found = [
                {**part, dimension: value}
                for part in found
                for value in self._values(dimension, part)
            ]
        return found

    def read(
        self,
        folder: str,
        columns: Sequence[str],
        part: Mapping[str, Any],
        *,
        last: bool = True,
        shaped: bool = False,
    ) -> pl.DataFrame:
        """The rows of a part, small: names are Enums, an image is its place among the sorted ones.

        Args:
            folder: rows, shuffled or statistics.
            columns: what is read of it; empty: all.
            part: from ``split``.
            last: leave out all layers but the last one; statistics are of no other.
            shaped: keep the controls with the attacks' own shape.

        Raises:
            StoreError: there are none, or a file is damaged.
        """
        found = []
        for frame in self.store.scan(folder, columns, part.get("variant"), part.get("model")):
            same = [pl.col(name) == value for name, value in part.items() if name in frame.columns]
            if last and "layer" in frame.columns:
                layers = pl.col("model").replace_strict(
                    self._plan.last_layers, return_dtype=pl.String
                )
                same.append(pl.col("layer") == layers)
            if self._shaped and not shaped and "attack" in frame.columns:
                same.append(~pl.col("attack").is_in(self._shaped))
            if self.only is not None:
                same.append(pl.col("image").is_in(self.only))
            found.append(self.small(frame.filter(same) if same else frame))
        rows = pl.concat(found, rechunk=True)
        return self._padded(rows) if self._few and not last else rows

    def images(self) -> list[str]:
        """The names of the images that were measured and count, sorted."""
        return self._images["image"].to_list()

    @cached_property
    def _images(self) -> pl.DataFrame:
        """Name and label of each image that counts, and the variants that have it; by name."""
        test = self.store.samples().filter(
            pl.col("part") == "test", pl.col("variants").list.len() > 0
        )
        if self.only is not None:
            test = test.filter(pl.col("image").is_in(self.only))
        return test.select("image", "label", "variants").sort("image")

    @cached_property
    def _names(self) -> dict[str, pl.Enum]:
        layers = dict.fromkeys(
            layer for model in self.models for layer in self._plan.explained_layers(model)
        )
        classes, models = pl.Enum(self._plan.predicted_classes()), pl.Enum(self.models)
        return {
            "label": classes,
            "clean_class": classes,
            "attacked_class": classes,
            "variant": pl.Enum(self._variants),
            "model": models,
            "source": models,
            "attack": pl.Enum([*self._attacks, *self._plan.controls, *self._shaped]),
            "method": pl.Enum(self.methods),
            "layer": pl.Enum(list(layers)),
            "explained_class": pl.Enum(self.policies),
        }

    def _rows(self, *, last: bool) -> float:
        """About how many rows there are."""
        images = sum(self._plan.variants[name].images.test.count for name in self._variants)
        met = len(self._attacks) * (1 + len(self._sources)) + len(self._plan.controls)
        met += len(self._shaped) if last else 0
        one = last or self._few
        layers = sum(1 if one else len(self._plan.explained_layers(model)) for model in self.models)
        views = len(self.methods) * layers * len(self.policies)
        return float(images * met * views * len(self._levels))

    def _values(self, dimension: str, part: Mapping[str, Any]) -> Sequence[Any]:
        if dimension == "layer":
            return self._plan.explained_layers(part["model"])
        values: dict[str, Sequence[Any]] = {
            "variant": self._variants,
            "model": self.models,
            "method": self.methods,
            "explained_class": self.policies,
            "epsilon": self._levels,
        }
        return values[dimension]

    def small(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows as ``read`` gives them."""
        if "partner" in frame.columns:
            frame = frame.with_columns(partner=self._places_of(frame["partner"]))
        places = self._images["image"].search_sorted(frame["image"])
        return frame.with_columns(
            *(
                pl.col(name).cast(kind)
                for name, kind in self._names.items()
                if name in frame.columns
            ),
            image=places.cast(pl.UInt32),
        )

    def _places_of(self, images: pl.Series) -> pl.Series:
        """Their places among those that count; null where they do not."""
        names = self._images["image"]
        places = names.search_sorted(images).clip(upper_bound=max(0, len(names) - 1))
        found = pl.DataFrame({"place": places, "same": names.gather(places) == images})
        return found.select(pl.when("same").then("place").cast(pl.UInt32)).to_series()

    def _padded(self, rows: pl.DataFrame) -> pl.DataFrame:
        """With a row without numbers for each image that has none here.

        All numbers of a variant are resampled with all its images.
        """
        if rows.is_empty():
            return rows
        attacked = rows.filter(pl.col("source").is_not_null()) if "source" in rows.columns else rows
        found = [rows]
        for one in attacked.unique("variant", maintain_order=True).partition_by("variant"):
            variant = one["variant"][0]
            every = self.small(
                self._images.filter(pl.col("variants").list.contains(variant)).drop("variants")
            )
            there = rows.filter(pl.col("variant") == variant)
            missing = every.join(there, on="image", how="anti")
            same = one.select(pl.exclude("image", "label", *_NUMBERS))
            found.append(missing.join(same, how="cross"))
        return pl.concat(found, how="diagonal")


_NUMBERS = ["partner", "nissim", "clean_dead", "attacked_dead", "dead", "unattacked"]

"""What stored results are keyed by: the hash of what made them, never the study's name for it."""

from collections.abc import Iterator
from functools import cache, cached_property
from typing import Any

import polars as pl

from lookaway.controls import read as read_control
from lookaway.hashing import digest_json
from lookaway.perturbation import NOISE, Source, made_by, own_size_noise
from lookaway.rows import SAMPLE_SCHEMA
from lookaway.study.json_files import Plan
from lookaway.study.keys import CellKey, ModelKey
from lookaway.study.named_settings import NamedSpec
from lookaway.study.parts import Part, Unit
from lookaway.study.settings import ModelSpec
from lookaway.study.shards import shards

# Of a model: what it is called, and what is known by the hash of its weights or of its classes.
_NOT_ITSELF = ("name", "checkpoint", "averaged", "classes")
_OF_TRAINING = ("epochs", "learning_rate", "adversarial", "seed", "network", "enrol")


def key_of(value: Any) -> str:
    """A short hash of plain data, as a part of a file's name."""
    return digest_json(value)[:20]


class Identity:
    """The keys of what a study stores.

    Args:
        plan: everything that changes its results.
        samples: its images; None: there are no cells yet.
    """

    def __init__(self, plan: Plan, samples: pl.DataFrame | None = None) -> None:
        self.plan, self._samples = plan, samples
        self._specs = {spec.name: spec for spec in plan.settings.models}
        self.network, self.head = cache(self._network), cache(self._head)
        self.unit, self.cell = cache(self._unit), cache(self._cell)
        self.shards, self._hashes = cache(self._shards), cache(self._hashes_of)
        self._perturbation = cache(self._perturbation_of)

    @cached_property
    def _around(self) -> dict[str, Any]:
        """What makes every number of a run."""
        libraries = {attack.library for attack in self.plan.settings.attacks}
        versions = {
            name: each for name, each in self.plan.versions.items() if name not in libraries
        }
        return {"layout": self.plan.layout, "device": self.plan.device, "versions": versions}

    def preparation(self, variant: str) -> str:
        """How the images of a variant reach the grid."""
        data = self.plan.settings.data
        about = self.plan.variants[variant].aligner
        return key_of([about, data.without_face, data.image_size, data.channels, data.range])

    def _own_code(self, kind: str | None) -> str | None:
        return self.plan.own_code.get((kind or "").partition(":")[0])

    def _made(self, spec: ModelSpec) -> dict[str, Any]:
        """A model before any training."""
        about = spec.model_dump(mode="json", exclude={*_NOT_ITSELF, *_OF_TRAINING})
        order = self.plan.class_order.get(spec.name)
        return {
            **about,
            "around": self._around,
            "weights": self.plan.weights[spec.name],
            "order": None if order is None else order.model_dump(mode="json"),
            "own_code": self._own_code(spec.module),
        }

    def _head(self, variant: str, model: str) -> str:
        """Of what a model learnt, or of the people that it knows; empty where it learns nothing.

        A model's name is a part of it, for its random numbers follow from that.
        """
        spec, plan = self._specs[model], self.plan
        if spec.train == "none":
            return ""
        images = plan.variants[variant].images
        return key_of(
            {
                "model": self._made(spec),
                "called": spec.of_network,
                "training": plan.settings.training_of(spec),
                "enrolled": spec.enrol,
                "precision": plan.training_precision if spec.train == "all" else None,
                "seed": plan.settings.data.split.seed,
                "prepared": self.preparation(variant),
                "images": [images.train.sha256, images.val.sha256],
                "classes": plan.classes,
            }
        )

    def _network(self, variant: str, model: str) -> str:
        """Of a model as it measures."""
        spec, plan = self._specs[model], self.plan
        return key_of(
            {
                "model": self._made(spec),
                "head": self.head(variant, model),
                "last": plan.last_layers[model],
                "batch": plan.batch_sizes[model],
                "unfolded": plan.unfolded.get(model, []),
                "precision": plan.settings.run.precision,
            }
        )

    def model(self, variant: str, model: str) -> ModelKey:
        """The key of a model on a variant."""
        return ModelKey(variant, model, self.network(variant, model), self.head(variant, model))

    def models(self) -> Iterator[ModelKey]:
        """The keys of all models, each on every variant, variants sorted."""
        for variant in sorted(self.plan.variants):
            for name in self.plan.models:
                yield self.model(variant, name)

    def drift(self, key: ModelKey) -> str:
        """The file of how far a model is from float32, which all that is measured changes."""
        units = [self.unit(key, unit) for unit in self.units(key.name)]
        return f"drift/{key_of([self._first(key), units])}.json"

    def sanity(self, key: ModelKey, part: str) -> tuple[str, str]:
        """The files of rows and of shuffled pairs of a model whose weights were drawn anew."""
        whole = self.whole(key.name)
        views = [
            self.view(key, method, self.plan.last_layers[key.name]) for method in whole.methods
        ]
        names = [key.name, self.plan.attacks[0], *whole.methods]
        about = [self._first(key), part, self.attack(self.plan.attacks[0])]
        stem = key_of([*about, *names, *views, *whole.epsilons])
        return f"sanity/{stem}.parquet", f"sanity/{stem}-shuffled.parquet"

    def pairs(self, key: ModelKey) -> tuple[str, str]:
        """The files of a gallery's comparisons that are looked at: their rows, and their maps."""
        explained = self.plan.explained_layers(key.name)
        stem = key_of([self._first(key), self._methods[self.plan.methods[0]], explained])
        return f"pairs/{stem}.parquet", f"pairs/{stem}.safetensors"

    def _first(self, key: ModelKey) -> str:
        return self.cell(key.variant, key.name, 0).id

    # Cells

    @cached_property
    def _of_every_cell(self) -> str:
        """What all cells have in common: there may be thousands of them, and of classes."""
        settings = self.plan.settings
        return key_of(
            {
                "classes": self.plan.classes,
                "measure": settings.measure.model_dump(mode="json"),
                "policies": settings.explain.explained_class,
                "quantize": settings.quantize,
                "norm": self.plan.norm,
                "seed": settings.data.split.seed,
            }
        )

    def _cell(self, variant: str, model: str, shard: int) -> CellKey:
        """The key of a cell."""
        of_model = self.model(variant, model)
        images = self._hashes(variant)[shard]
        about = [of_model.id, self.preparation(variant), images, self._of_every_cell]
        return CellKey(variant, model, shard, key_of(about), of_model)

    def cells(self, variant: str | None = None, model: str | None = None) -> Iterator[CellKey]:
        """The keys of all cells, or of those of a variant and of a model, variants sorted."""
        for name in sorted(self.plan.variants) if variant is None else [variant]:
            for each in self.plan.models if model is None else [model]:
                for shard in range(len(self.shards(name))):
                    yield self.cell(name, each, shard)

    def pictured(self, variant: str, shard: int) -> list[int]:
        """The places of a shard's pictured images among its images."""
        shown = self._records(variant)["pictured"]
        return [at for at, place in enumerate(self.shards(variant)[shard]) if shown[place]]

    def place(self, variant: str, place: int) -> tuple[int, int]:
        """The shard of a test image, and its place there."""
        return next(
            (shard, places.index(place))
            for shard, places in enumerate(self.shards(variant))
            if place in places
        )

    def _records(self, variant: str) -> pl.DataFrame:
        here = pl.col("variants").list.contains(variant)
        samples = pl.DataFrame(schema=SAMPLE_SCHEMA) if self._samples is None else self._samples
        test = samples.filter(pl.col("part") == "test", here)
        return test.select("image", "label", "sha256", "pictured")

    def _shards(self, variant: str) -> list[list[int]]:
        """The places of each shard's images among a variant's test images."""
        return shards(self._records(variant).select("label", "image").rows(), self.plan.shard)

    def _hashes_of(self, variant: str) -> list[str]:
        """The hash of the images of each shard."""
        records = self._records(variant).rows()
        return [key_of([records[place] for place in places]) for places in self.shards(variant)]

    # What is stored of a cell

    def whole(self, model: str) -> Part:
        """All that is measured of a model's cells."""
        plan = self.plan
        return Part(
            tuple(plan.met(model)),
            tuple(plan.shaped_met(model)),
            tuple(plan.settings.epsilons),
            tuple(plan.methods),
            tuple(plan.explained_layers(model)),
        )

    def units(self, model: str) -> list[Unit]:
        """All that is measured of a model's cells, in the order of their rows."""
        return self.whole(model).units(self.plan.last_layers[model])

    def _unit(self, key: ModelKey, unit: Unit) -> str:
        """Of one perturbation, ε, explainer and layer."""
        return key_of(
            [
                self._perturbation(key, unit.met),
                unit.epsilon,
                self.view(key, unit.method, unit.layer),
            ]
        )

    def view(self, key: ModelKey, method: str, layer: str) -> str:
        """Of an explainer at a layer, and of the images that are explained there.

        The last layer's maps are also compared at a size that those of all models have.
        """
        last = layer == self.plan.last_layers[key.name]
        how = self.plan.common if last else self.plan.settings.explain.layers_of
        return key_of([self._methods[method], layer, how])

    def scored(self, key: ModelKey, met: Source, epsilon: float) -> str:
        """Of the scores of images under a perturbation."""
        return key_of(["scores", self._perturbation(key, met), epsilon])

    def attack(self, name: str) -> str:
        """Of an attack."""
        return self._attacks[name]

    @cached_property
    def _attacks(self) -> dict[str, str]:
        plan = self.plan
        return {
            each.name: self._named(each, [each.library, plan.versions.get(each.library or "")])
            for each in plan.settings.attacks
        }

    @cached_property
    def _methods(self) -> dict[str, str]:
        return {each.name: self._named(each, []) for each in self.plan.settings.explain.methods}

    def _named(self, spec: NamedSpec, more: list[str | None]) -> str:
        return key_of([spec.kind, spec.options, self._own_code(spec.kind), *more])

    def _perturbation_of(self, key: ModelKey, met: Source) -> str:
        """Of what images are changed by."""
        name, source = met
        if source == key.name:
            return key_of([self.attack(name), "own"])
        if source is not None:
            return key_of([self.attack(name), self.network(key.variant, source)])
        sources = [None, *(each for each in self.plan.settings.transfer_from if each != key.name)]
        own = {
            (attack, each): self._perturbation(key, (attack, each or key.name))
            for attack in self.plan.attacks
            for each in sources
        }
        for (attack, each), of in own.items():
            if name == own_size_noise(attack, each):
                return key_of(["own size", of])
            control = read_control(name)
            if control is not None and control.of == made_by(attack, each):
                return key_of([control.kind, control.number, of])
        return key_of([NOISE, name])

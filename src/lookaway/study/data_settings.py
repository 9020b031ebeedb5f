"""Which images a study is made of, and how they are prepared and divided."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from lookaway.data.samples import open_source
from lookaway.places import local_path
from lookaway.study.fields import (
    MOST,
    Fraction,
    Number,
    PathText,
    Seed,
    Settings,
    mended,
    unique,
)


class Split(Settings):
    """How images are divided; the fractions add up to 1."""

    train: Fraction = 0.8
    val: Fraction = 0.1
    test: Fraction = 0.1
    seed: Seed = 0

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = self.train + self.val + self.test
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(f"train, val and test add up to {total:g}; they must add up to 1")
        if self.test == 0:
            raise ValueError("test is 0; the study measures on test images, so give them a share")
        return self


class FolderSplit(Settings):
    """The parts that the image folder has are kept; the seed is of what else is drawn."""

    by: Literal["folders"]
    seed: Seed = 0


def _split(value: Any) -> Any:
    if isinstance(value, str):
        if value != "folders":
            raise ValueError(
                f"got {value!r}; possible: folders, or {{train: 0.8, val: 0.1, test: 0.1, seed: 0}}"
            )
        return {"by": "folders"}
    if isinstance(value, Mapping) and "by" in value:
        odd = [str(name) for name in value if name not in FolderSplit.model_fields]
        if odd:
            raise ValueError(f"{', '.join(odd)}: cannot stand beside `by: folders`; seed alone can")
    return value


def _kind_of_split(value: Any) -> str:
    by_folders = isinstance(value, FolderSplit) or (isinstance(value, Mapping) and "by" in value)
    return "folders" if by_folders else "fractions"


class Data(Settings):
    """Which images, and how they are prepared."""

    folder: PathText
    classes: Annotated[int, Field(ge=2, le=MOST)] | None = None
    image_size: Annotated[int, Field(ge=16, le=2048)] = 224
    channels: Literal[1, 3] = 3
    range: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None
    variants: Annotated[list[Literal["none", "cascade", "landmarks"]], Field(min_length=1)] = [
        "none"
    ]
    landmarks: PathText | None = None
    without_face: Literal["crop", "drop"] = "crop"
    split: Annotated[
        Annotated[Split, Tag("fractions")] | Annotated[FolderSplit, Tag("folders")],
        Discriminator(_kind_of_split),
        BeforeValidator(_split),
    ] = Split()

    @field_validator("folder")
    @classmethod
    def _there(cls, value: str, info: ValidationInfo) -> str:
        return mended(value, lambda: open_source(value), info)

    @field_validator("landmarks")
    @classmethod
    def _here(cls, value: str | None, info: ValidationInfo) -> str | None:
        return value and mended(value, lambda: local_path(value, "landmarks"), info)

    @field_validator("range")
    @classmethod
    def _rising(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and not -math.inf < value[0] < value[1] < math.inf:
            raise ValueError(f"got {value}; give the number that is black, then a larger for white")
        return value

    @field_validator("variants")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        return unique(value)

    @model_validator(mode="after")
    def _points(self) -> Self:
        if "landmarks" in self.variants and self.landmarks is None:
            raise ValueError(
                "the variant landmarks needs landmarks: a CSV of boxes and points, or a folder of "
                "such files"
            )
        if self.landmarks is not None and "landmarks" not in self.variants:
            raise ValueError(
                "landmarks is given, but no variant uses it; add landmarks to variants"
            )
        return self

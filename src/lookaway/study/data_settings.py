"""Which images a study is made of, and how they are prepared and divided."""

import math
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

from lookaway.data.dataset import GIVEN
from lookaway.data.pose import MARGIN
from lookaway.data.samples import open_source
from lookaway.data.table import has_parts, is_table
from lookaway.errors import LookawayError
from lookaway.places import is_remote, local_path, to_path
from lookaway.study.fields import (
    MOST,
    Fraction,
    Number,
    PathText,
    Seed,
    Settings,
    is_stored,
    looked_up,
    mended,
    text,
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
    """The parts that folders or a table say are kept; the seed is of what else is drawn."""

    by: Literal["folders", "table"]
    seed: Seed = 0


def _split(value: Any) -> Any:
    if isinstance(value, str):
        if value not in ("folders", "table"):
            raise ValueError(
                f"got {value!r}; possible: folders, table, or {{train: 0.8, val: 0.1, test: 0.1, "
                "seed: 0}"
            )
        return {"by": value}
    if isinstance(value, Mapping) and "by" in value:
        odd = [str(name) for name in value if name not in FolderSplit.model_fields]
        if odd:
            raise ValueError(
                f"{', '.join(odd)}: cannot stand beside `by: {value['by']}`; seed alone can"
            )
    return value


def _kind_of_split(value: Any) -> str:
    by_folders = isinstance(value, FolderSplit) or (isinstance(value, Mapping) and "by" in value)
    return "folders" if by_folders else "fractions"


class Data(Settings):
    """Which images, and how they are prepared."""

    table: PathText | None = None
    folder: Annotated[PathText | None, Field(validate_default=True)] = None
    classes: Annotated[int, Field(ge=2, le=MOST)] | None = None
    image_size: Annotated[int, Field(ge=16, le=2048)] = 224
    channels: Literal[1, 3] = 3
    range: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None
    variants: Annotated[
        list[Literal["none", "cascade", "landmarks"]], Field(min_length=1), AfterValidator(unique)
    ] = ["none"]
    landmarks: Annotated[PathText, looked_up(partial(local_path, what="landmarks"))] | None = None
    margin: Fraction = MARGIN
    without_face: Literal["crop", "drop"] = "crop"
    split: Annotated[
        Annotated[Split, Tag("fractions")] | Annotated[FolderSplit, Tag("folders")],
        Discriminator(_kind_of_split),
        BeforeValidator(_split),
    ] = Split()

    @model_validator(mode="before")
    @classmethod
    def _parts_of_table(cls, given: Any, info: ValidationInfo) -> Any:
        """The parts that a table has are kept, unless the study says how to divide."""
        if not isinstance(given, Mapping) or not given.get("table") or is_stored(info):
            return given
        split = given.get("split", {})
        if not isinstance(split, Mapping) or not {*split} <= {"seed"}:
            return given
        with suppress(LookawayError):  # which is told where it stands
            if has_parts(to_path(text(given["table"]))):
                return {**given, "split": {"by": "table", **split}}
        return given

    @field_validator("table")
    @classmethod
    def _listed(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not is_table(value):
            raise ValueError(f"got {value!r}; give a CSV or Parquet file, by its ending")
        return value and mended(value, lambda: open_source(value), info)

    @field_validator("folder")
    @classmethod
    def _there(cls, value: str | None, info: ValidationInfo) -> str | None:
        table = info.data.get("table", "")  # not there where it is wrong
        if value is None and table is None:
            raise PydanticKnownError("missing")
        if value is not None and table is not None:
            raise ValueError("cannot stand beside table: images come from one of them")
        if value == GIVEN:
            return value
        if value is not None and is_table(value):
            raise ValueError(f"got {value!r}; of a table say so: data: {{table: …}}")
        return value and mended(value, lambda: open_source(value), info)

    @field_validator("range")
    @classmethod
    def _rising(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and not -math.inf < value[0] < value[1] < math.inf:
            raise ValueError(f"got {value}; give the number that is black, then a larger for white")
        return value

    @property
    def source(self) -> str:
        """Where the images come from."""
        return self.table or self.folder or ""

    @property
    def points(self) -> str | None:
        """Where boxes and points stand: in files of their own, else in the table."""
        return self.landmarks or (self.table if "landmarks" in self.variants else None)

    @model_validator(mode="after")
    def _kept(self) -> Self:
        by = self.split.by if isinstance(self.split, FolderSplit) else None
        if by is not None and (by == "table") != (self.table is not None):
            other = "folders" if by == "table" else "table"
            raise ValueError(f"split: {by} is for images that come from another place: {other}")
        return self

    @model_validator(mode="after")
    def _points(self) -> Self:
        if "landmarks" in self.variants and self.points is None:
            raise ValueError(
                "the variant landmarks needs landmarks: a CSV of boxes and points, or a folder of "
                "such files"
            )
        if self.landmarks is None and self.points is not None and is_remote(self.points):
            raise ValueError(
                f"the boxes and points of {self.points!r} must lie on this machine: copy the table "
                "here, or give landmarks"
            )
        if self.landmarks is not None and self.variants == ["none"]:
            raise ValueError(
                "landmarks is given, but no variant uses it; add landmarks to variants, or "
                "cascade, of whose faces the points tell the regions"
            )
        return self

"""The base class of the blocks of an experiment file, and types with ranges."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

FOLDS = (0, 1, 2, 3)
ALL_LABELS = 100  # percent of the training images

Item = TypeVar("Item")


def _each_once(values: list[Item]) -> list[Item]:
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is named twice")
    return values


def _written_off(value: Any) -> Any:
    return "off" if value is False else value


Unquoted = BeforeValidator(_written_off)  # YAML reads a plain `off` as false
Amp = Annotated[Literal["off", "bf16", "fp16"], Unquoted]
Distinct = Annotated[list[Item], AfterValidator(_each_once)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
SplitName = Annotated[str, Field(pattern=r"^[a-z0-9_]+/[a-z0-9_]+$")]
Ratio = Annotated[int, Field(ge=1, le=ALL_LABELS)]


class Block(BaseModel):
    """A block of an experiment file; unknown keys are refused, and values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Part = TypeVar("Part", bound=Block)


def narrowed(block: Block, part: type[Part]) -> Part:
    """The block reduced to the keys of one of its base classes."""
    return part.model_validate(block.model_dump(include=set(part.model_fields)))


def known(name: str, names: Collection[str], where: str) -> None:
    """Refuse a name that is not one of `names`; `where` is the key that holds the name."""
    if name not in names:
        near = get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{where}: {name!r} is not defined, known are {sorted(names)}{hint}")

"""What all parts of an experiment file are made of: a strict model, and types with their ranges."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from umtfss.runs import ALL_LABELS

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
SplitName = Annotated[str, Field(pattern=r"^[a-z0-9_]+/[a-z0-9_]+$")]
Ratio = Annotated[int, Field(ge=1, le=ALL_LABELS)]


class Block(BaseModel):
    """A part of an experiment: unknown keys are refused, values cannot be changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True)

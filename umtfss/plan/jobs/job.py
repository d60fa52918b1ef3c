"""The base class of jobs, which carries plain fields to a script.

A job holds all settings that a rule's script reads. The rule passes the job as
`params: job=job("<rule>")`, and the script rebuilds it with `read`. A script cannot read a setting
that its job does not hold, so a changed setting cannot go unnoticed.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import ConfigDict, TypeAdapter

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan

CODE = "code"  # key of the digest of the sources, which is passed beside the fields of a job


@dataclass(frozen=True)
class Job(ABC):
    """A job of one rule, whose class is defined in `umtfss/plan/jobs/<rule>.py`.

    Fields are numbers, texts, lists, mappings, dataclasses of these, or blocks of the experiment.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    @classmethod
    @abstractmethod
    def of(cls, plan: "Plan", wildcards: Any) -> Self:
        """The job that a rule's wildcards name."""

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules that the script imports by name, as paths relative to the project's root."""
        return ()

    def params(self) -> dict[str, Any]:
        """The fields as JSON-able values."""
        fields: dict[str, Any] = _adapter(type(self)).dump_python(self, mode="json")
        return fields

    @classmethod
    def read(cls, params: Mapping[str, Any]) -> Self:
        """The job from the fields that a rule passes."""
        fields = {key: value for key, value in params.items() if key != CODE}
        read: Self = _adapter(cls).validate_python(fields)
        return read


@cache  # making an adapter takes longer than all else that a job costs
def _adapter(job: type[Job]) -> TypeAdapter[Any]:
    """The reader and writer of a class of jobs."""
    return TypeAdapter(job)


def job_class(rule: str) -> type[Job]:
    """The class of a rule's jobs: `ClusterPixels` in `cluster_pixels.py`."""
    name = "".join(word.title() for word in rule.split("_"))
    found: type[Job] = getattr(import_module(f"umtfss.plan.jobs.{rule}"), name)
    return found

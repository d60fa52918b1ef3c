"""What all jobs have: plain fields on the way to a script, and back.

A job is all that the script of a rule is given beside its files. The rule passes it as
`params: job=job("<rule>")`, the script rebuilds it with `read`. What a job does not hold, a script
cannot read, so a changed setting cannot go unnoticed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import ConfigDict, TypeAdapter

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan

CODE = "code"  # the digest of the sources, beside the fields of a job


@dataclass(frozen=True)
class Job:
    """A job of one rule; its class lies in `umtfss/plan/jobs/<rule>.py`.

    Fields are numbers, texts, lists, mappings, dataclasses of such, or blocks of the experiment.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> Self:
        """The job of the plan that a rule's wildcards name."""
        raise NotImplementedError

    @property
    def modules(self) -> tuple[str, ...]:
        """Sources that the script imports by name, relative to the project's root."""
        return ()

    def params(self) -> dict[str, Any]:
        """The fields as JSON-able values."""
        fields: dict[str, Any] = TypeAdapter(type(self)).dump_python(self, mode="json")
        return fields

    @classmethod
    def read(cls, params: Mapping[str, Any]) -> Self:
        """The job whose fields a rule has passed."""
        fields = {key: value for key, value in params.items() if key != CODE}
        return TypeAdapter(cls).validate_python(fields)


def job_class(rule: str) -> type[Job]:
    """The class of a rule's jobs: `ClusterPixels` in `cluster_pixels.py`."""
    name = "".join(word.title() for word in rule.split("_"))
    found: type[Job] = getattr(import_module(f"umtfss.plan.jobs.{rule}"), name)
    return found

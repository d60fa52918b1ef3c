"""The job of the rule `make_shapes`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.experiment.datasets import ShapesConfig
from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class MakeShapes(Job):
    """Draw a procedural data set.

    Attributes:
        settings: Counts, sizes and seed.
    """

    settings: ShapesConfig

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "MakeShapes":
        """The job of the data set `wildcards.dataset`, which is of kind shapes."""
        settings = plan.experiment.datasets[wildcards.dataset].shapes
        assert settings is not None  # `Plan.raw_marker` asks for shapes of this kind alone
        return cls(settings)

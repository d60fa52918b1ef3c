"""The job of the rule `make_pseudo_masks`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.data.source import DatasetSource
from umtfss.experiment.pseudo_masks import PseudoMasksConfig
from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class MakePseudoMasks(Job):
    """Label the pixels of a shard's images by cluster and find the valid regions.

    Attributes:
        dataset: Data set of the images.
        level: Level of the features that are assigned to clusters.
        settings: Superpixels and the validity of regions.
    """

    dataset: DatasetSource
    level: str
    settings: PseudoMasksConfig

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "MakePseudoMasks":
        """The job of images of `wildcards.dataset` in the pool `wildcards.pool`."""
        experiment = plan.experiment
        level = experiment.features[experiment.assigned_features(wildcards.pool)].level
        return cls(plan.paths.source(wildcards.dataset), level, experiment.pseudo_masks)

"""The job of the rule `make_saliency_masks`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.data.source import DatasetSource
from umtfss.experiment.pseudo_masks import PseudoMasksConfig
from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class MakeSaliencyMasks(Job):
    """Find the salient region of every image of a shard.

    Attributes:
        dataset: Data set of the images.
        level: Level of the features that the spectral cut reads.
        settings: Superpixels and the validity of regions.
    """

    dataset: DatasetSource
    level: str
    settings: PseudoMasksConfig

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "MakeSaliencyMasks":
        """The job of images of `wildcards.dataset`."""
        level = plan.features.extracted(plan.experiment.salient_features).level
        return cls(plan.paths.source(wildcards.dataset), level, plan.experiment.pseudo_masks)

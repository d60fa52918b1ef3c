"""The job of the rule `extract_features`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.data.source import DatasetSource
from umtfss.experiment.features import WeightsConfig
from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class ExtractFeatures(Job):
    """Compute the features of one shard of a split.

    Attributes:
        dataset: Data set of the images.
        backbone: Name of the frozen backbone.
        levels: Levels of the backbone.
        long_side: Image long side, px.
        mirrored: Whether features are averaged over the image and its mirror image.
        precision: Autocast precision.
        weights: Backbone -> weights, where not the packaged default.
        shard: Number of the shard.
        shards: Number of shards of the split.
        batch_size: Images of equal size per forward pass.
    """

    dataset: DatasetSource
    backbone: str
    levels: tuple[str, ...]
    long_side: int
    mirrored: bool
    precision: str
    weights: dict[str, WeightsConfig]
    shard: int
    shards: int
    batch_size: int

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "ExtractFeatures":
        """The job of the named features `wildcards.extracted` of a shard of a split."""
        features = plan.experiment.extracted[wildcards.extracted]
        how = plan.experiment.extraction
        return cls(
            dataset=plan.paths.source(wildcards.dataset),
            backbone=features.backbone,
            levels=features.levels,
            long_side=features.long_side,
            mirrored=features.mirrored,
            precision=features.precision,
            weights=features.weights,
            shard=int(wildcards.shard),
            shards=how.shards,
            batch_size=how.batch_size,
        )

"""The frozen features of an experiment: images, levels, cached or live.

`umtfss/plan/paths.py` says where a cache lies, and `umtfss/plan/plan.py` which caches the tables
need.
"""

from collections.abc import Iterable
from typing import Any

from umtfss.experiment.backbones import backbone_spec
from umtfss.experiment.features import (
    DIFFUSED,
    DiffusedConfig,
    ExtractedConfig,
    ModelFeatures,
)
from umtfss.experiment.schema import Experiment
from umtfss.plan.paths import FeatureCache, pairs_of
from umtfss.plan.run import RunSpec


class Features:
    """The frozen features that the models and the clustering of an experiment read.

    Args:
        experiment: The validated experiment.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment

    def run_features(self, run: RunSpec) -> str:
        """The named features that a run's model reads."""
        return run.features or self.experiment.model.features

    def diffuses(self, run: RunSpec) -> bool:
        """Whether a run's model reads diffused features."""
        return self.run_features(run) in self.experiment.diffused

    def extracted(self, features: str) -> ExtractedConfig:
        """The settings of named features; for diffused features, the settings of their source."""
        return self.experiment.extracted[self.experiment.source_of(features)]

    def channels(self, features: str) -> dict[str, int]:
        """Level -> channels of named features."""
        settings = self.experiment.features[features]
        if isinstance(settings, DiffusedConfig):
            return {DIFFUSED: settings.width}
        known = backbone_spec(settings.backbone).channels
        return {level: known[level] for level in settings.levels}

    def model_features(self, run: RunSpec) -> ModelFeatures:
        """The features that a run's model reads, without the experiment's names."""
        name = self.run_features(run)
        settings, extracted = self.experiment.features[name], self.extracted(name)
        channels = self.channels(name)
        return ModelFeatures(
            backbone=extracted.backbone,
            long_side=extracted.long_side,
            mid=settings.mid,
            mid_channels=[channels[level] for level in settings.mid],
            high=settings.high,
            mid_std=settings.mid_std,
            live=None if settings.cache else extracted,
        )

    def features_behind(self, features: str) -> dict[str, Any]:
        """All settings that decide named features, with settings in place of names."""
        settings = self.experiment.features[features]
        if isinstance(settings, ExtractedConfig):
            return settings.model_dump(mode="json")
        return {
            **settings.model_dump(mode="json", exclude={"source", "diffuse_over"}),
            "from": self.features_behind(settings.source),
            "images": self.experiment.pools[settings.diffuse_over].images,
        }

    def caches(self, features: str, splits: Iterable[str]) -> list[FeatureCache]:
        """The caches of named features of `splits`; empty if the features are live."""
        if not self.experiment.features[features].cache:
            return []
        return [FeatureCache(features, *pair) for pair in pairs_of(splits)]

    def source_caches(self, caches: Iterable[FeatureCache]) -> set[FeatureCache]:
        """The source caches, and the caches of the pool, of all diffused features in `caches`."""
        found: set[FeatureCache] = set()
        for cache in caches:
            if cache.features in self.experiment.diffused:
                found.add(FeatureCache(self.experiment.source_of(cache.features), *cache.images))
                found.update(self.mapped_caches(cache.features))
        return found

    def mapped_caches(self, features: str) -> list[FeatureCache]:
        """The source caches of the pool that named features are diffused over."""
        diffused = self.experiment.diffused[features]
        pool = self.experiment.pools[diffused.diffuse_over]
        return self.caches(diffused.source, pool.images)

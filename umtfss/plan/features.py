"""Which frozen features an experiment has: of which images, at which levels, cached or live.

`umtfss/plan/paths.py` says where a cache lies, `umtfss/plan/plan.py` which of them the tables need.
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
    """The frozen features of an experiment, as its models and its clustering read them.

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
        """What is said of named features; of diffused ones, of those that they are made of."""
        return self.experiment.extracted[self.experiment.source_of(features)]

    def channels(self, features: str) -> dict[str, int]:
        """Level -> channels of named features."""
        settings = self.experiment.features[features]
        if isinstance(settings, DiffusedConfig):
            return {DIFFUSED: settings.width}
        known = backbone_spec(settings.backbone).channels
        return {level: known[level] for level in settings.levels}

    def model_features(self, run: RunSpec) -> ModelFeatures:
        """What a run's model has to know of the features that it reads."""
        name = self.run_features(run)
        settings, extracted = self.experiment.features[name], self.extracted(name)
        channels = self.channels(name)
        return ModelFeatures(
            backbone=extracted.backbone,
            long_side=extracted.long_side,
            mid=settings.mid,
            mid_channels=sum(channels[level] for level in settings.mid),
            high=settings.high,
            mid_std=settings.mid_std,
            live=None if settings.cache else extracted,
        )

    def features_behind(self, features: str) -> dict[str, Any]:
        """All that decides named features of given images, whatever the names."""
        settings = self.experiment.features[features]
        if isinstance(settings, ExtractedConfig):
            return settings.model_dump(mode="json")
        return {
            **settings.model_dump(mode="json", exclude={"source", "diffuse_over"}),
            "from": self.features_behind(settings.source),
            "images": self.experiment.pools[settings.diffuse_over].images,
        }

    def caches(self, features: str, splits: Iterable[str]) -> list[FeatureCache]:
        """The caches of named features of `splits`; none if they are live."""
        if not self.experiment.features[features].cache:
            return []
        return [FeatureCache(features, *pair) for pair in pairs_of(splits)]

    def source_caches(self, caches: Iterable[FeatureCache]) -> set[FeatureCache]:
        """The caches that diffused ones among `caches` are made of, and diffused over."""
        found: set[FeatureCache] = set()
        for cache in caches:
            if cache.features in self.experiment.diffused:
                found.add(FeatureCache(self.experiment.source_of(cache.features), *cache.images))
                found.update(self.mapped_caches(cache.features))
        return found

    def mapped_caches(self, features: str) -> list[FeatureCache]:
        """The caches of the images that named features are diffused over."""
        diffused = self.experiment.diffused[features]
        pool = self.experiment.pools[diffused.diffuse_over]
        return self.caches(diffused.source, pool.images)

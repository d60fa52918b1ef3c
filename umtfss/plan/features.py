"""Which frozen features an experiment has: of which images, at which levels, cached or live.

`umtfss/plan/paths.py` says where a cache lies, `umtfss/plan/plan.py` which of them the tables need.
"""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from umtfss.common.digests import digest_code
from umtfss.common.errors import ConfigError
from umtfss.experiment.backbones import backbone_spec, parts_of
from umtfss.experiment.features import DIFFUSED, EmbeddingConfig
from umtfss.plan.paths import FeatureCache, Paths, pairs_of
from umtfss.plan.run import RunSpec


class Caches(Paths):
    """The frozen features of an experiment, as its models and its clustering read them."""

    def model_levels(self, run: RunSpec) -> tuple[list[str], str]:
        """The levels of the mid and of the high feature that a run's model reads."""
        features = self.experiment.features
        if run.raw and features.diffusion is not None:
            return [features.diffusion.level], features.diffusion.level
        return features.model.mid, features.model.high

    def mid_channels(self, run: RunSpec) -> int:
        """The channels of the mid feature that a run's model reads."""
        features = self.experiment.features
        channels = dict(backbone_spec(features.model.backbone).channels)
        if features.diffusion is not None:
            channels[DIFFUSED] = features.diffusion.width
        return sum(channels[level] for level in self.model_levels(run)[0])

    def diffuses(self, run: RunSpec) -> bool:
        """Whether a run's model reads diffused features."""
        return DIFFUSED in self.model_levels(run)[0]

    def feature_cache(
        self, dataset: str, split: str, backbone: str, side: int, diffused: bool = False
    ) -> FeatureCache:
        """The cache of a split for a backbone and an image size, with every level needed of it.

        A diffused one is apart from the one that it is made of.
        """
        if diffused:
            return FeatureCache(dataset, split, backbone, side, (DIFFUSED,))
        features = self.experiment.features
        embeddings, model = (features.clustering, features.assignment), features.model
        own = [pool.embedding for pool in self.experiment.pools.values() if pool.embedding]
        uses = {(e.backbone, e.long_side, e.level) for e in (*embeddings, *own)}
        uses |= {
            (e.backbone, e.long_side, pool.level)
            for pool in self.experiment.pools.values()
            for e in embeddings
            if pool.level
        }
        if model.cache:
            uses |= {(model.backbone, model.long_side, level) for level in (*model.mid, model.high)}
        levels = [level for b, s, level in uses if (b, s) == (backbone, side)]
        return FeatureCache(dataset, split, backbone, side, features.backbone_levels(levels))

    def embedding_cache(self, dataset: str, split: str, embedding: EmbeddingConfig) -> FeatureCache:
        """The cache of a split for clustering or for assignment."""
        side, diffused = embedding.long_side, embedding.level == DIFFUSED
        return self.feature_cache(dataset, split, embedding.backbone, side, diffused)

    def pool_embedding(self, pool: str, embedding: EmbeddingConfig) -> EmbeddingConfig:
        """The embedding of clustering or of assignment, or the pool's own, or at its own level."""
        settings = self.experiment.pools[pool]
        if settings.embedding is not None:
            return settings.embedding
        level = settings.level
        return embedding.model_copy(update={"level": level}) if level else embedding

    def embedding_caches(self, pool: str, embedding: EmbeddingConfig) -> list[FeatureCache]:
        """The caches of a pool's images for an embedding."""
        pairs = pairs_of(self.experiment.pools[pool].images)
        return [self.embedding_cache(*pair, embedding) for pair in pairs]

    @property
    def salient_embedding(self) -> EmbeddingConfig:
        """The pixel embedding that saliency is found in: what is diffused is no longer local."""
        features = self.experiment.features
        (level,) = features.backbone_levels([features.assignment.level])
        return features.assignment.model_copy(update={"level": level})

    def assigned_features(self, pool: str, dataset: str, split: str, shard: str) -> str:
        """The manifest of a shard of the features that are assigned to a pool's clusters."""
        embedding = self.pool_embedding(pool, self.experiment.features.assignment)
        cache = self.embedding_cache(dataset, split, embedding)
        return self.feature_manifests([cache])[int(shard)]

    def salient_features(self, dataset: str, split: str, shard: str) -> str:
        """The manifest of a shard of the features that saliency is found in."""
        cache = self.embedding_cache(dataset, split, self.salient_embedding)
        return self.feature_manifests([cache])[int(shard)]

    def model_caches(self, splits: Iterable[str], diffused: bool) -> list[FeatureCache]:
        """The caches of `splits` that a meta-learner reads; empty if its features are live."""
        model = self.experiment.features.model
        if not model.cache:
            return []
        return [
            self.feature_cache(dataset, split, model.backbone, model.long_side, diffused)
            for dataset, split in pairs_of(splits)
        ]

    @property
    def diffusion_sources(self) -> list[FeatureCache]:
        """The caches of the images that features are diffused over; none without diffusion."""
        diffusion = self.experiment.features.diffusion
        if diffusion is None:
            return []
        return self.model_caches(self.experiment.pools[diffusion.pool].images, diffused=False)

    def cache_named(self, dataset: str, split: str, name: str) -> FeatureCache:
        """The cache of a split in the folder `name`.

        Raises:
            ConfigError: The name is that of no cache.
        """
        backbone, side, *kind = name.split("-")
        if kind not in ([], [DIFFUSED]):
            raise ConfigError(
                f"experiment {self.experiment.name} has no cache {name} of {dataset}/{split}",
                expected=f"<backbone>-<side> or <backbone>-<side>-{DIFFUSED}",
                fix="correct the path",
            )
        return self.feature_cache(dataset, split, backbone, int(side), diffused=bool(kind))

    def plain(self, cache: FeatureCache) -> FeatureCache:
        """The cache that a diffused one is made of."""
        return self.feature_cache(cache.dataset, cache.split, cache.backbone, cache.long_side)

    @cached_property
    def live_backbone(self) -> dict[str, Any]:
        """What decides the model's features where they are live; empty if they are cached.

        A cache's manifest tells its readers of another backbone. Live features have none.
        """
        features = self.experiment.features
        if features.model.cache:
            return {}
        weights = {
            name: features.weights[name].model_dump(mode="json")
            for name in parts_of(features.model.backbone)
            if name in features.weights
        }
        return {
            "weights": weights or None,
            "mirrored": features.mirrored,
            "precision": features.precision,
            "code": digest_code("umtfss/backbones/build.py"),
        }

"""Which frozen features an experiment has: of which images, at which levels, cached or live.

`umtfss/paths.py` says where a cache lies, `umtfss/plan.py` which of them the tables need.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any

from umtfss.backbones.facts import backbone_facts, parts_of, tail_of
from umtfss.errors import ConfigError
from umtfss.features.settings import DIFFUSED, EmbeddingConfig
from umtfss.paths import STEM, FeatureCache, Paths, pairs_of
from umtfss.provenance import digest_code
from umtfss.runs import TUNED, RunSpec

CachesOf = Callable[[bool], list[FeatureCache]]


class Caches(Paths):
    """The frozen features of an experiment, as its models and its clustering read them."""

    def model_levels(self, run: RunSpec) -> tuple[list[str], str]:
        """The levels of the mid and of the high feature that a run's model is tested on."""
        features = self.experiment.features
        if run.is_tuned:
            return [TUNED], TUNED
        if run.raw and features.diffusion is not None:
            return [features.diffusion.level], features.diffusion.level
        return features.model.mid, features.model.high

    def trained_levels(self, run: RunSpec) -> tuple[list[str], str]:
        """The levels that it is trained on: others, where it makes features of its own."""
        if run.is_tuned:
            return [self.stem_level], self.experiment.features.tuned_level
        return self.model_levels(run)

    @property
    def stem_level(self) -> str:
        """The level that tuned blocks read."""
        features = self.experiment.features
        return tail_of(features.model.backbone, features.tuned_level, features.tuned_blocks).stem

    def mid_channels(self, run: RunSpec) -> int:
        """The channels of the mid feature that a run's model reads."""
        features = self.experiment.features
        channels = dict(backbone_facts(features.model.backbone).channels)
        if features.diffusion is not None:
            channels[DIFFUSED] = features.diffusion.width
        return sum(channels[level] for level in self.trained_levels(run)[0])

    def diffuses(self, run: RunSpec) -> bool:
        """Whether a run's model is tested on diffused features, be it among others."""
        return DIFFUSED in self.tested_levels(run)

    def tested_levels(self, run: RunSpec) -> list[str]:
        """The levels that its mid feature is made of at test: a run that tunes makes its own."""
        diffused = [] if self.experiment.features.diffusion is None else [DIFFUSED]
        return [self.stem_level, *diffused] if run.is_tuned else self.model_levels(run)[0]

    def run_caches(
        self, run: RunSpec, levels: Iterable[str], cached: CachesOf
    ) -> list[list[FeatureCache]]:
        """The caches that a run reads side by side; none if `cached` gives none.

        Args:
            run: The run. One that tunes reads frozen features and stems, and at test diffused ones.
            levels: The levels of its mid feature, at training or at test.
            cached: Gives the caches of some images, diffused or not.
        """
        diffused = DIFFUSED in levels
        if not run.is_tuned:
            several = [cached(diffused)]
        else:
            frozen = cached(False)
            several = [frozen, [self._stem(cache) for cache in frozen]]
            several += [cached(True)] if diffused else []
        return [caches for caches in several if caches]

    def _stem(self, cache: FeatureCache) -> FeatureCache:
        return replace(cache, levels=(self.stem_level,), stem=True)

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
        uses = {(e.backbone, e.long_side, e.level) for e in embeddings}
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
        """The embedding of clustering or of assignment, at the pool's own level if it has one."""
        level = self.experiment.pools[pool].level
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
        if name.endswith(f"-{STEM}"):
            return self._stem(self.cache_named(dataset, split, name.removesuffix(f"-{STEM}")))
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

    def test_caches(self, dataset: str, diffused: bool) -> list[FeatureCache]:
        """The caches of a data set's test images; empty if their features are live."""
        return self.model_caches([self.tested_split(dataset)], diffused)

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
            "code": digest_code("umtfss/backbones"),
        }

"""What an experiment file may say: every key with its type, its range and one line of meaning.

Unknown keys are refused. `umtfss/experiment.py` puts the blocks together.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from umtfss.block import Block, Distinct, Fraction, Name, PositiveInt, SplitName, known
from umtfss.episodes.settings import AugmentConfig
from umtfss.features.settings import EmbeddingConfig

OFFICIAL_TEST_SPLIT = "val"
PerFold = Annotated[list[PositiveInt], Field(min_length=4, max_length=4)]


class ShapesConfig(Block):
    """The procedural data set `shapes`."""

    train_images: PositiveInt = Field(400, description="images in the split train")
    val_images: PositiveInt = Field(240, description="images in the split val")
    dev_images: Annotated[int, Field(ge=0)] = Field(
        0, description="images in the split dev, to choose settings on without test images"
    )
    height: Annotated[int, Field(ge=64)] = Field(180, description="image height, px")
    width: Annotated[int, Field(ge=64)] = Field(240, description="image width, px")
    seed: int = Field(0, description="seed of everything drawn, the looks of classes included")


class DatasetConfig(Block):
    """A data set: where its raw files are and how they are read."""

    kind: Literal["voc2012", "coco", "shapes", "folder"] = Field(description="the reader")
    folder: str | None = Field(None, description="folder below data_root; not for shapes")
    download: bool = Field(False, description="fetch the official files if the folder is absent")
    min_class_area: PositiveInt = Field(
        2048, description="px of a class at label resolution for it to count as present"
    )
    test_split: Name = Field(
        OFFICIAL_TEST_SPLIT,
        description="split that is tested; another than val, to choose settings without test "
        "images, is said in every caption",
    )
    test_episodes: PositiveInt = Field(1000, description="test episodes per fold and seed")
    rare_classes: Literal["refuse", "leave_out"] = Field(
        "refuse",
        description="test classes with too few images for K supports: an error, or not tested, "
        "which makes the mIoU one over the others",
    )
    expected_images: dict[str, PositiveInt] = Field(
        default_factory=dict, description="split -> number of images that verification expects"
    )
    expected_fold_images: dict[str, PerFold] = Field(
        default_factory=dict,
        description="split -> images with a class of fold 0..3, that verification expects",
    )
    expected_smallest_class: dict[str, PerFold] = Field(
        default_factory=dict,
        description="split -> size of the smallest class pool of fold 0..3, expected",
    )
    shapes: ShapesConfig | None = Field(None, description="settings of kind shapes")

    @model_validator(mode="after")
    def _check_kind(self) -> "DatasetConfig":
        if self.kind == "shapes" and (self.folder is not None or self.shapes is None):
            raise ValueError("kind shapes takes a block `shapes:` and no `folder:`")
        if self.kind != "shapes" and (self.folder is None or self.shapes is not None):
            raise ValueError(f"kind {self.kind} takes a `folder:` and no block `shapes:`")
        if self.download and self.kind not in ("voc2012", "coco"):
            raise ValueError("only voc2012 and coco can be downloaded")
        if self.kind != "folder":
            known(self.test_split, self.splits, "test_split")
        return self

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that data sets of this kind have."""
        if self.kind == "folder":
            return ("all",)
        has_dev = self.shapes is not None and self.shapes.dev_images > 0
        return ("train", "val", "dev") if has_dev else ("train", "val")

    @property
    def is_development(self) -> bool:
        """Whether what is tested is not the official test split, of any kind."""
        return self.test_split != OFFICIAL_TEST_SPLIT


class PoolConfig(Block):
    """An unlabelled pool: images whose clusters become pseudo-classes, or to diffuse over."""

    images: Distinct[SplitName] = Field(
        min_length=1, description="data set splits, e.g. pascal/train"
    )
    clusters: Annotated[int, Field(ge=2, le=254)] | None = Field(
        None,
        description="number of clusters N (paper: 50 on COCO, 30 on PASCAL); needed where there is "
        "a training block",
    )
    level: Name | None = Field(
        None, description="level that is clustered, if another than the features block says"
    )
    embedding: EmbeddingConfig | None = Field(
        None,
        description="pixel embedding of clustering and assignment, if another than the features "
        "block says; for clusters of another network than the model's",
    )

    @model_validator(mode="after")
    def _check_level(self) -> "PoolConfig":
        if self.level is not None and self.embedding is not None:
            raise ValueError("give either `level:` or `embedding:`, which has a level of its own")
        return self


class ClusteringConfig(Block):
    """Pixel k-means (protocol section 3.3)."""

    subset_images: PositiveInt = Field(20_000, description="random images that k-means sees")
    memory_vectors: PositiveInt = Field(1_000_000, description="vectors held in memory for Lloyd")
    iterations: PositiveInt = Field(30, description="Lloyd iterations on what fits memory")
    batch_vectors: PositiveInt = Field(65_536, description="vectors per streaming update")
    seed: int = Field(0, description="seed of the image subset and of the initial centroids")
    gallery_regions: PositiveInt = Field(8, description="regions per cluster in the gallery")


class PseudoMasksConfig(Block):
    """From clusters to regions and support pools (protocol section 3.4-3.7)."""

    superpixels: Literal["felzenszwalb", "off"] = Field("felzenszwalb", description="label vote")
    scale: Annotated[float, Field(gt=0)] = Field(100.0, description="Felzenszwalb scale")
    sigma: Annotated[float, Field(ge=0)] = Field(0.8, description="Felzenszwalb smoothing, px")
    min_size: PositiveInt = Field(200, description="Felzenszwalb smallest superpixel, px")
    min_area: PositiveInt = Field(2048, description="smallest valid region, px")
    background_span: Fraction = Field(
        0.99, description="a region spanning this part of the rows or columns is background"
    )


class EpisodesConfig(Block):
    """How test and pseudo-episodes are drawn (protocol section 2, 3.7, 3.8)."""

    draw: Literal["class_uniform", "list_order"] = Field(
        "class_uniform", description="test: class uniform (choice), or the authors' list order"
    )
    support_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="nearest part of a cluster's regions that supports are drawn from"
    )
    support_cap: PositiveInt = Field(5000, description="largest support pool, regions")
    small_cluster: PositiveInt = Field(
        20, description="clusters with fewer regions use all of them as supports"
    )
    max_border: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="clusters that lie on the images' borders more often than this times the "
        "average are background and make no pseudo-episodes; null: every cluster does",
    )
    novel_images: Literal["keep", "exclude"] = Field(
        "keep",
        description="labelled training images that also hold novel classes: kept, their novel "
        "pixels background, or left out (as BAM does)",
    )


UMTFSS_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "release": {
        "k_fg": 20,
        "k_bg": 50,
        "mask_empty_groups": False,
        "support_self_attention": "dead",
        "ignore_in_loss": False,
        "token_masks": "sampled",
        "position_code": "counted",
        "padding": "seen",
        "attention_dropout": 0.1,
    },
}


class ModelConfig(Block):
    """The meta-learner (protocol sections 4 and 7); every model takes the keys that it has."""

    preset: Literal["paper", "release"] = Field("paper", description="defaults of the other keys")
    width: PositiveInt = Field(256, description="model width d")
    layers: PositiveInt = Field(2, description="layers of each attention")
    heads: PositiveInt = Field(8, description="attention heads")
    ffn_ratio: PositiveInt = Field(3, description="hidden width of the FFN over d")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="dropout in the transformer"
    )
    attention_dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="dropout of values and of attention weights (released code: 0.1); above 0, "
        "fused kernels are not used",
    )
    mid_dropout: Fraction = Field(0.5, description="Dropout2d after the mid projection")
    head_dropout: Fraction = Field(0.1, description="Dropout2d in the head")
    layer_order: Literal["interleaved", "self_first"] = Field(
        "interleaved", description="umtfss: self- and cross-attention by turns, or all self first"
    )
    token_masks: Literal["area", "sampled"] = Field(
        "area",
        description="a token's label: of most of its area, or, as in the released code, of single "
        "pixels (umtfss, cyctr)",
    )
    position_code: Literal["centred", "counted"] = Field(
        "centred",
        description="a token's place: its centre, or, as in the released code, the tokens up to it",
    )
    padding: Literal["hidden", "seen"] = Field(
        "hidden",
        description="hidden: leaves no trace; seen: treated as image, as in the released code",
    )
    self_attention: Literal["deformable", "vanilla"] = Field(
        "deformable", description="deformable (released code) or multi-head (paper)"
    )
    deformable_points: PositiveInt = Field(9, description="sampling points per head")
    support_self_attention: Literal["live", "dead"] = Field(
        "live", description="dead: its result is thrown away, as in the released code"
    )
    cross_attention: Literal["prototype", "vanilla"] = Field(
        "prototype", description="support tokens seen by the query: grouped (Eq. 6) or all (Eq. 1)"
    )
    vanilla_tokens: Annotated[int, Field(ge=0)] = Field(
        0, description="vanilla: tokens sampled from fg and from bg; 0 takes all"
    )
    k_fg: PositiveInt = Field(50, description="foreground prototypes K_fg")
    k_bg: PositiveInt = Field(100, description="background prototypes K_bg")
    hash_bits: PositiveInt = Field(32, le=62, description="bits b of the hash")
    hamming_iterations: PositiveInt = Field(10, description="iterations r of Hamming k-means")
    prototype_pool: Literal["mean", "sum"] = Field(
        "mean", description="mean, L2-normalised, or the plain sum of Eq. 5"
    )
    mask_empty_groups: bool = Field(
        True,
        description="keep groups that lost all tokens out of the attention; slots beyond the "
        "number of tokens always are",
    )
    residual: Literal["none", "prototype", "centred"] = Field(
        "none",
        description="prototype: the training-free score is added to the logits; centred: and the "
        "model's own part has mean 0 over an image, so that the score's threshold stays; neither "
        "is in the paper",
    )
    self_support: bool = Field(
        False,
        description="the training-free score takes the query's own predicted tokens into its "
        "prototypes, once; not in the paper",
    )
    margin: Annotated[float, Field(ge=-2, le=2)] = Field(
        0.0,
        description="cosine by which the foreground prototype must be nearer in the training-free "
        "score; not in the paper",
    )
    superpixels: Fraction = Field(
        0.0,
        description="part of the tested score that is its mean over each superpixel of the query "
        "(those of pseudo_masks); not in the paper",
    )
    ignore_in_loss: bool = Field(
        True,
        description="leave label 255 out of the dice loss; false: predictions there stay in its "
        "denominator, as in the released code (umtfss, cyctr)",
    )
    pyramid_scales: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=lambda: [1.0, 1 / 2, 1 / 4, 2 / 15],
        min_length=1,
        description="pfenet: grids of feature enrichment, finest first, over the token grid",
    )
    cycle_tokens: PositiveInt = Field(
        300, description="cyctr: tokens sampled from fg and from bg, times the number of shots"
    )
    cycle_tokens_vary: bool = Field(
        True,
        description="cyctr: training scales cycle_tokens by U(0.6, 4), of several shots by "
        "U(0.6, 1.4), and draws anew for each layer",
    )
    cycle_spared: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="cyctr: part of the inconsistent tokens that training lets through"
    )

    def changed(self, overrides: Mapping[str, Any]) -> "ModelConfig":
        """The block with other values of some keys; another `preset` sets all of its keys."""
        preset = UMTFSS_PRESETS[overrides["preset"]] if "preset" in overrides else {}
        return ModelConfig.model_validate({**self.model_dump(), **preset, **overrides})

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {**UMTFSS_PRESETS.get(data.get("preset", "paper"), {}), **data}
        return data

    @model_validator(mode="after")
    def _check_heads(self) -> "ModelConfig":
        if self.width % self.heads or self.width % 4:
            raise ValueError(f"width {self.width} must be a multiple of 4 and of heads")
        return self


LENGTH = ("epochs", "steps", "batch_size", "shot")  # keys that decide how many episodes are drawn


class TrainingConfig(Block):
    """One stage of optimisation (protocol section 5). Give either epochs or steps."""

    epochs: PositiveInt | None = Field(None, description="passes over the pool")
    steps: PositiveInt | None = Field(None, description="optimiser steps, instead of epochs")
    batch_size: PositiveInt = Field(4, description="episodes per step, over all processes")
    shot: PositiveInt = Field(1, description="supports per training episode")
    optimiser: Literal["sgd_adamw", "adamw", "adam"] = Field(
        "sgd_adamw",
        description="SGD, and AdamW for the transformer (paper); or AdamW, or Adam with L2 decay "
        "(MaskSplit's own), for every parameter at adamw_lr and adamw_weight_decay",
    )
    sgd_lr: Annotated[float, Field(gt=0)] = Field(2e-3, description="SGD rate, all but transformer")
    lr_multiplier: Annotated[float, Field(gt=0)] = Field(15.0, description="factor on sgd_lr")
    momentum: Fraction = Field(0.9, description="SGD momentum")
    sgd_weight_decay: Annotated[float, Field(ge=0)] = Field(1e-4, description="SGD weight decay")
    adamw_lr: Annotated[float, Field(gt=0)] = Field(
        1e-4, description="rate of AdamW or Adam; constant for a transformer beside SGD"
    )
    adamw_weight_decay: Annotated[float, Field(ge=0)] = Field(
        1e-2, description="of AdamW, none on biases and norms, or of Adam, on everything"
    )
    decay: Literal["poly", "cosine", "constant"] = Field(
        "poly", description="how the main rate (SGD's, or that of the one optimiser) falls"
    )
    poly_power: Annotated[float, Field(ge=0)] = Field(0.9, description="power of decay poly")
    warmup_steps: Annotated[int, Field(ge=0)] | None = Field(
        None, description="linear warm-up of the main rate; none: first epoch, at most half of all"
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="decay of an exponential moving average of the weights, which is what a "
        "training leaves (0.99 averages over about 100 steps); none: the last weights",
    )
    amp: Literal["off", "bf16", "fp16"] = Field("off", description="mixed precision")
    clip_norm: Annotated[float, Field(gt=0)] | None = Field(None, description="gradient clipping")
    loss_side: PositiveInt | None = Field(
        None, description="side at which the loss is taken, px; none: the model's image size"
    )
    workers: Annotated[int, Field(ge=0)] = Field(0, description="loader processes; results same")
    checkpoint_minutes: Annotated[float, Field(gt=0)] = Field(5.0, description="between saves")
    log_every: PositiveInt = Field(10, description="steps averaged into one line of log.csv")
    augment: AugmentConfig = Field(default_factory=AugmentConfig, description="augmentation")
    models: dict[Name, dict[str, Any]] = Field(
        default_factory=dict,
        description="model -> the keys of this block that differ for it, e.g. sgd_lr",
    )

    def of_model(self, model: str) -> "TrainingConfig":
        """The stage as one model has it, without `models`."""
        changed = self.models.get(model, {})
        kept = self.model_dump(exclude={"models"})
        if {"epochs", "steps"} & set(changed):
            kept |= {"epochs": None, "steps": None}
        return TrainingConfig.model_validate({**kept, **changed})

    @model_validator(mode="after")
    def _check_length(self) -> "TrainingConfig":
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either `epochs:` or `steps:`")
        if self.steps is not None and (self.warmup_steps or 0) >= self.steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} must be below steps {self.steps}")
        for model, changed in self.models.items():
            if "models" in changed:
                raise ValueError(f"models.{model}: a stage within a stage has no `models`")
            self.of_model(model)
        return self


class EvaluationConfig(Block):
    """Testing (protocol section 6)."""

    shots: Distinct[PositiveInt] = Field([1, 5], description="K at test")
    seeds: PositiveInt = Field(5, description="episode seeds of all tables but the ablations")
    training_seeds: PositiveInt = Field(
        1, description="trainings that a number is the mean of, for intervals that cover training"
    )
    batch_size: PositiveInt = Field(8, description="episodes per forward pass")
    bootstrap: Annotated[int, Field(ge=100)] = Field(1000, description="bootstrap resamples")
    interval: Annotated[float, Field(gt=0, lt=1)] = Field(0.95, description="interval's coverage")
    amp: Literal["off", "bf16", "fp16"] = Field("off", description="mixed precision")

"""The block `datasets`: where the raw files of data sets are and how they are read."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from umtfss.experiment.block import Block, Name, PositiveInt, known

OFFICIAL_TEST_SPLIT = "val"
DATA_ROOT_VARIABLE = "UMTFSS_DATA_ROOT"

Kind = Literal["voc2012", "coco", "shapes", "masks_folder", "coco_json", "folder"]
OWN_KINDS = ("masks_folder", "coco_json")  # classes and folds are data of their folder
PerFold = Annotated[list[PositiveInt], Field(min_length=4, max_length=4)]


class ShapesConfig(Block):
    """The procedural data set `shapes`."""

    train_images: PositiveInt = Field(400, description="images in the split train")
    val_images: PositiveInt = Field(240, description="images in the split val")
    dev_images: Annotated[int, Field(ge=0)] = Field(
        0, description="images in the split dev, for choosing settings without test images"
    )
    height: Annotated[int, Field(ge=64)] = Field(180, description="image height, px")
    width: Annotated[int, Field(ge=64)] = Field(240, description="image width, px")
    seed: int = Field(0, description="seed of the drawing, the looks of classes included")
    parts: Literal[2, 6] = Field(
        2, description="unlike parts of an object: body and inlay, or a mosaic of six"
    )


@dataclass(frozen=True)
class ExpectedCounts:
    """The counts that verification expects of a split; None: any count.

    Attributes:
        kind: The reader, which decides the classes of a fold.
        min_area: px that a class must cover to count as present.
        images: Number of images.
        fold_images: Number of images with a class of fold 0, 1, 2 and 3.
        smallest_class: Number of images of the rarest class of fold 0, 1, 2 and 3.
    """

    kind: Kind
    min_area: int
    images: int | None = None
    fold_images: list[int] | None = None
    smallest_class: list[int] | None = None


class DatasetConfig(Block):
    """A data set: where its raw files are and how they are read."""

    kind: Kind = Field(description="the reader")
    folder: str | None = Field(None, description="folder below data_root; not for shapes")
    download: bool = Field(False, description="fetch the official files if the folder is absent")
    min_class_area: PositiveInt = Field(
        2048, description="px at label resolution that a class must cover to count as present"
    )
    test_split: Name = Field(
        OFFICIAL_TEST_SPLIT,
        description="split that is tested; a split other than val, for choosing settings without "
        "test images, is named in every caption",
    )
    test_episodes: PositiveInt = Field(1000, description="test episodes per fold and seed")
    rare_classes: Literal["refuse", "leave_out"] = Field(
        "refuse",
        description="test classes with fewer than K + 1 images: refuse them, or leave them out of "
        "the test and of the mIoU",
    )
    expected_images: dict[str, PositiveInt] = Field(
        default_factory=dict, description="split -> expected number of images"
    )
    expected_fold_images: dict[str, PerFold] = Field(
        default_factory=dict,
        description="split -> expected number of images with a class of fold 0, 1, 2 and 3",
    )
    expected_smallest_class: dict[str, PerFold] = Field(
        default_factory=dict,
        description="split -> expected number of images of the rarest class of fold 0, 1, 2 and 3",
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
        if self.kind in OWN_KINDS and (self.expected_fold_images or self.expected_smallest_class):
            raise ValueError(f"kind {self.kind} takes expected_images, but no counts of folds")
        if self.kind != "folder":
            known(self.test_split, self.splits, "test_split")
        return self

    def expected(self, split: str) -> ExpectedCounts:
        """The counts that verification expects of a split."""
        return ExpectedCounts(
            kind=self.kind,
            min_area=self.min_class_area,
            images=self.expected_images.get(split),
            fold_images=self.expected_fold_images.get(split),
            smallest_class=self.expected_smallest_class.get(split),
        )

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of data sets of this kind."""
        if self.kind == "folder":
            return ("all",)
        if self.kind == "voc2012":
            return ("train", "val", "fit", "dev")
        has_dev = self.shapes is not None and self.shapes.dev_images > 0
        return ("train", "val", "dev") if has_dev else ("train", "val")

    @property
    def is_development(self) -> bool:
        """Whether the tested split is not the official test split."""
        return self.test_split != OFFICIAL_TEST_SPLIT

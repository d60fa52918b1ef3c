"""The block `tables`: which tables are filled, and their settings."""

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field

from umtfss.experiment.block import Block, Distinct, Name, PositiveInt, Ratio
from umtfss.experiment.models import TRAINING_FREE


class TableBlock(Block):
    """The settings of a table, and what the table needs from other blocks."""

    training_seeds: PositiveInt | None = Field(
        None,
        description="trainings per number, for less time than all tables at the same number need; "
        "null: evaluation.training_seeds",
    )

    @property
    @abstractmethod
    def tested(self) -> list[tuple[str, str, str]]:
        """The pairs that the table needs: (key, tested data set, unlabelled training pool)."""

    @property
    def labelled(self) -> list[tuple[str, str]]:
        """The trainings on labels that the table needs: (block, data set)."""
        return []

    @property
    def listed_models(self) -> list[str]:
        """The models that the table names."""
        return []

    @property
    def split_pools(self) -> list[str]:
        """The pools whose images the table selects by label."""
        return []


class TableConfig(TableBlock):
    """A table of one data set and one pool."""

    dataset: Name = Field(description="tested data set")
    pool: Name = Field(description="unlabelled pool")

    @property
    def tested(self) -> list[tuple[str, str, str]]:
        """The one data set with the one pool."""
        return [("", self.dataset, self.pool)]


class HeadlineConfig(TableConfig):
    """The headline table."""

    seeds: PositiveInt | None = Field(
        None, description="number of episode seeds; null: evaluation.seeds"
    )
    other_pools: Distinct[Name] = Field(
        [], description="further pools, e.g. with other clusters; each adds a row of UMTFSS"
    )

    @property
    def tested(self) -> list[tuple[str, str, str]]:
        """The data set with the pool and with every further pool."""
        others = [(".other_pools", self.dataset, pool) for pool in self.other_pools]
        return [*super().tested, *others]


class Table1Config(TableConfig):
    """Table 1: meta-training with labels of base classes against meta-training without labels."""

    models: Distinct[Name] = Field(["pfenet", "cyctr", "umtfss"], description="columns")
    rows: list[Literal["sup", "unsup"]] = Field(["sup", "unsup"], description="task sources")

    @property
    def labelled(self) -> list[tuple[str, str]]:
        """Training from scratch, for the row `sup`."""
        return [("supervised", self.dataset)] if "sup" in self.rows else []

    @property
    def listed_models(self) -> list[str]:
        """The models of the columns."""
        return self.models


class Table2Config(TableConfig):
    """Table 2: fine-tuning on a part of the labels, from scratch and from unsupervised weights."""

    models: Distinct[Name] = Field(["pfenet", "cyctr", "umtfss"], description="rows")
    ratios: Distinct[Ratio] = Field([5, 10, 20, 100], min_length=1, description="percent of images")

    @property
    def labelled(self) -> list[tuple[str, str]]:
        """Training from scratch and from unsupervised weights."""
        return [("supervised", self.dataset), ("fine_tuning", self.dataset)]

    @property
    def listed_models(self) -> list[str]:
        """The models of the rows."""
        return self.models


class Table4Config(TableConfig):
    """Table 4: the K_fg x K_bg grid."""

    k_fg: Distinct[PositiveInt] = Field(min_length=1, description="columns")
    k_bg: Distinct[PositiveInt] = Field(min_length=1, description="rows")


class PairsConfig(TableBlock):
    """A table of several data sets, each with a pool."""

    datasets: dict[Name, Name] = Field(min_length=1, description="tested data set -> pool")

    @property
    def tested(self) -> list[tuple[str, str, str]]:
        """Every data set with its pool."""
        return [(".datasets", dataset, pool) for dataset, pool in self.datasets.items()]


class Table5Config(PairsConfig):
    """Table 5: training on the images of one fold, or on the images of all folds."""

    settings: list[Literal["fold", "all"]] = Field(["fold", "all"], description="rows")
    masksplit: bool = Field(True, description="rows of MaskSplit beside UMTFSS")

    @property
    def split_pools(self) -> list[str]:
        """Every pool, for the rows `fold`."""
        return list(self.datasets.values()) if "fold" in self.settings else []


class Table6Config(PairsConfig):
    """Table 6: UMTFSS with no, some and all labels, beside competitors, quoted and measured."""

    datasets: dict[Name, Name] = Field(
        min_length=1, description="tested data set -> pool of the unsupervised weights"
    )
    ratios: Distinct[Ratio] = Field([5, 10, 20, 100], description="percent of images, besides 0")
    models: Distinct[Name] = Field(
        [],
        description="competitors that are measured here, without labels and from scratch on all "
        "labels; a training-free model once",
    )

    @property
    def labelled(self) -> list[tuple[str, str]]:
        """Training from unsupervised weights, unless 0 % is the only ratio, and from scratch."""
        blocks = ["fine_tuning"] * bool(self.ratios) + ["supervised"] * bool(self.listed_models)
        return [(block, dataset) for dataset in self.datasets for block in blocks]

    @property
    def listed_models(self) -> list[str]:
        """The measured competitors that are trained."""
        return [model for model in self.models if model not in TRAINING_FREE]


class TablesConfig(Block):
    """The tables that the experiment fills."""

    headline: HeadlineConfig | None = Field(None, description="floor against UMTFSS, for every K")
    table1: Table1Config | None = Field(None, description="supervised against unsupervised")
    table2: Table2Config | None = Field(None, description="fine-tuning on a part of the labels")
    table3: TableConfig | None = Field(None, description="vanilla against prototype attention")
    table4: Table4Config | None = Field(None, description="the K_fg x K_bg grid")
    table5: Table5Config | None = Field(None, description="training on one fold's images or all")
    table6: Table6Config | None = Field(None, description="UMTFSS beside supervised models")
    ablation: TableConfig | None = Field(None, description="our additions, part by part")
    departures: TableConfig | None = Field(
        None, description="departures from the released code, one at a time"
    )
    ablation_seeds: PositiveInt = Field(
        1, description="episode seeds of Tables 2, 3 and 4, of the ablation and of the departures"
    )
    folds: Distinct[Annotated[int, Field(ge=0, le=3)]] = Field(
        default_factory=lambda: [0, 1, 2, 3],
        min_length=1,
        description="tested folds; the caption names them if they are fewer than 4",
    )
    note: str = Field("", description="sentence under every table, e.g. a reduced setting")

    @property
    def filled(self) -> dict[str, TableBlock]:
        """Name -> block of every table that the experiment fills, in order."""
        blocks = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: block for name, block in blocks.items() if isinstance(block, TableBlock)}

    @property
    def tested(self) -> list[tuple[str, str, str]]:
        """(key, tested data set, training pool) of every table."""
        return [
            (f"tables.{name}{key}", dataset, pool)
            for name, block in self.filled.items()
            for key, dataset, pool in block.tested
        ]

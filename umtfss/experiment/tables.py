"""The block `tables`: which tables are filled, and with what."""

from typing import Annotated, Literal

from pydantic import Field

from umtfss.experiment.block import Block, Distinct, Name, PositiveInt, Ratio


class TableBlock(Block):
    """The settings of a table, and what they ask of the other blocks."""

    @property
    def tested(self) -> list[tuple[str, str, str]]:
        """(key that asks for it, data set tested, unlabelled pool trained on)."""
        raise NotImplementedError

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
        """The pools whose images the table selects by their labels."""
        return []


class TableConfig(TableBlock):
    """A table of one data set and one pool."""

    dataset: Name = Field(description="data set tested")
    pool: Name = Field(description="unlabelled pool")

    @property
    def tested(self) -> list[tuple[str, str, str]]:
        """The one data set with the one pool."""
        return [("", self.dataset, self.pool)]


class HeadlineConfig(TableConfig):
    """The headline table."""

    seeds: PositiveInt | None = Field(
        None, description="episode seeds, if other than evaluation.seeds"
    )
    other_pools: Distinct[Name] = Field(
        [], description="further pools, a row of UMTFSS each; e.g. of other clusters"
    )

    @property
    def tested(self) -> list[tuple[str, str, str]]:
        """The data set with the pool, and with each further one."""
        others = [(".other_pools", self.dataset, pool) for pool in self.other_pools]
        return [*super().tested, *others]


class Table1Config(TableConfig):
    """Table 1: meta-training with labels of base classes against none."""

    models: Distinct[Name] = Field(["pfenet", "cyctr", "umtfss"], description="columns")
    rows: list[Literal["sup", "unsup"]] = Field(["sup", "unsup"], description="task sources")

    @property
    def labelled(self) -> list[tuple[str, str]]:
        """From scratch, for the row `sup`."""
        return [("supervised", self.dataset)] if "sup" in self.rows else []

    @property
    def listed_models(self) -> list[str]:
        """Those of the columns."""
        return self.models


class Table2Config(TableConfig):
    """Table 2: fine-tuning on a part of the labels, from scratch and from unsupervised weights."""

    models: Distinct[Name] = Field(["pfenet", "cyctr", "umtfss"], description="rows")
    ratios: Distinct[Ratio] = Field([5, 10, 20, 100], min_length=1, description="percent of images")

    @property
    def labelled(self) -> list[tuple[str, str]]:
        """From scratch and from unsupervised weights."""
        return [("supervised", self.dataset), ("fine_tuning", self.dataset)]

    @property
    def listed_models(self) -> list[str]:
        """Those of the rows."""
        return self.models


class Table4Config(TableConfig):
    """Table 4: the K_fg x K_bg grid."""

    k_fg: Distinct[PositiveInt] = Field(min_length=1, description="columns")
    k_bg: Distinct[PositiveInt] = Field(min_length=1, description="rows")


class AblationConfig(TableConfig):
    """What is added to the paper's method, part by part."""

    paper_pool: Name = Field(
        description="the pool of the rows without diffusion: the same images with a `level:` of "
        "the backbone, so that clusters are the paper's"
    )

    @property
    def tested(self) -> list[tuple[str, str, str]]:
        """The data set with both pools."""
        return [*super().tested, (".paper_pool", self.dataset, self.paper_pool)]


class PairsConfig(TableBlock):
    """A table of several data sets, each with a pool."""

    datasets: dict[Name, Name] = Field(min_length=1, description="data set tested -> its pool")

    @property
    def tested(self) -> list[tuple[str, str, str]]:
        """Each data set with its pool."""
        return [(".datasets", dataset, pool) for dataset, pool in self.datasets.items()]


class Table5Config(PairsConfig):
    """Table 5: trained on the fold's own images, or on those of all folds."""

    settings: list[Literal["fold", "all"]] = Field(["fold", "all"], description="rows")
    masksplit: bool = Field(True, description="rows of MaskSplit beside those of UMTFSS")

    @property
    def split_pools(self) -> list[str]:
        """Every pool, for the rows `fold`."""
        return list(self.datasets.values()) if "fold" in self.settings else []


class Table6Config(PairsConfig):
    """Table 6: UMTFSS with none, some and all labels beside quoted supervised competitors."""

    datasets: dict[Name, Name] = Field(
        min_length=1, description="data set tested -> pool of the unsupervised weights"
    )
    ratios: Distinct[Ratio] = Field([5, 10, 20, 100], description="percent of images, besides 0")

    @property
    def labelled(self) -> list[tuple[str, str]]:
        """From unsupervised weights, unless 0 % is all."""
        return [("fine_tuning", dataset) for dataset in self.datasets if self.ratios]


class TablesConfig(Block):
    """Which tables the experiment fills, and with what."""

    headline: HeadlineConfig | None = Field(None, description="floor against UMTFSS, every shot")
    table1: Table1Config | None = Field(None, description="supervised against unsupervised")
    table2: Table2Config | None = Field(None, description="fine-tuning on a part of the labels")
    table3: TableConfig | None = Field(None, description="vanilla against prototype attention")
    table4: Table4Config | None = Field(None, description="the K_fg x K_bg grid")
    table5: Table5Config | None = Field(None, description="trained on the fold's images or all")
    table6: Table6Config | None = Field(None, description="beside supervised competitors")
    ablation: AblationConfig | None = Field(None, description="our additions, part by part")
    departures: TableConfig | None = Field(
        None, description="against the released code, one departure at a time"
    )
    ablation_seeds: PositiveInt = Field(
        1, description="episode seeds of Tables 2, 3 and 4, of the ablation and of departures"
    )
    folds: Distinct[Annotated[int, Field(ge=0, le=3)]] = Field(
        default_factory=lambda: [0, 1, 2, 3],
        min_length=1,
        description="folds tested; a table of fewer than 4 says so in its caption",
    )
    note: str = Field("", description="sentence under every table, e.g. a reduced setting")

    @property
    def filled(self) -> dict[str, TableBlock]:
        """Name -> block of every table that the experiment fills, in order."""
        blocks = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: block for name, block in blocks.items() if isinstance(block, TableBlock)}

    @property
    def tested(self) -> list[tuple[str, str, str]]:
        """The key of every table, a data set that it tests and a pool that it trains on."""
        return [
            (f"tables.{name}{key}", dataset, pool)
            for name, block in self.filled.items()
            for key, dataset, pool in block.tested
        ]

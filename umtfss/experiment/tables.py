"""The block `tables`: which tables are filled, and with what."""

from typing import Annotated, Literal

from pydantic import Field

from umtfss.experiment.block import Block, Distinct, Name, PositiveInt, Ratio


class TableConfig(Block):
    """A table of one data set and one pool."""

    dataset: Name = Field(description="data set tested")
    pool: Name = Field(description="unlabelled pool")


class HeadlineConfig(TableConfig):
    """The headline table."""

    seeds: PositiveInt | None = Field(
        None, description="episode seeds, if other than evaluation.seeds"
    )
    other_pools: Distinct[Name] = Field(
        [], description="further pools, a row of UMTFSS each; e.g. of other clusters"
    )


class Table1Config(TableConfig):
    """Table 1: meta-training with labels of base classes against none."""

    models: Distinct[Name] = Field(["pfenet", "cyctr", "umtfss"], description="columns")
    rows: list[Literal["sup", "unsup"]] = Field(["sup", "unsup"], description="task sources")


class Table2Config(TableConfig):
    """Table 2: fine-tuning on a part of the labels, from scratch and from unsupervised weights."""

    models: Distinct[Name] = Field(["pfenet", "cyctr", "umtfss"], description="rows")
    ratios: Distinct[Ratio] = Field([5, 10, 20, 100], min_length=1, description="percent of images")


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


class Table5Config(Block):
    """Table 5: trained on the fold's own images, or on those of all folds."""

    datasets: dict[Name, Name] = Field(min_length=1, description="data set tested -> its pool")
    settings: list[Literal["fold", "all"]] = Field(["fold", "all"], description="rows")
    masksplit: bool = Field(True, description="rows of MaskSplit beside those of UMTFSS")


class Table6Config(Block):
    """Table 6: UMTFSS with none, some and all labels beside quoted supervised competitors."""

    datasets: dict[Name, Name] = Field(
        min_length=1, description="data set tested -> pool of the unsupervised weights"
    )
    ratios: Distinct[Ratio] = Field([5, 10, 20, 100], description="percent of images, besides 0")


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
    def tested(self) -> list[tuple[str, str, str]]:
        """The key of every table, a data set that it tests and a pool that it trains on."""
        found = []
        for name in ("headline", "table1", "table2", "table3", "table4", "ablation", "departures"):
            table = getattr(self, name)
            if table is not None:
                found.append((f"tables.{name}", table.dataset, table.pool))
        if self.headline is not None:
            where, dataset = "tables.headline.other_pools", self.headline.dataset
            found += [(where, dataset, pool) for pool in self.headline.other_pools]
        if self.ablation is not None:
            where = "tables.ablation.paper_pool"
            found.append((where, self.ablation.dataset, self.ablation.paper_pool))
        for name in ("table5", "table6"):
            table = getattr(self, name)
            pairs = table.datasets.items() if table is not None else ()
            found += [(f"tables.{name}.datasets", dataset, pool) for dataset, pool in pairs]
        return found

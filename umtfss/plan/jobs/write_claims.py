"""The job of the rule `write_claims`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.experiment.backbones import backbone_spec
from umtfss.experiment.model import ModelConfig
from umtfss.plan.cells import FoldFile
from umtfss.plan.jobs.job import Job
from umtfss.plan.tables.claim import Claim

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class WriteClaims(Job):
    """Judge every claim of the paper.

    Attributes:
        experiment: Name of the experiment.
        claims: The claims, with the evaluation files that their numbers average.
        model: The model whose attention is counted.
        tokens: Tokens of an image, N.
        shots: Numbers of supports for which attention is counted.
        training_seeds: Number of trainings that a number averages.
        resamples: Number of bootstrap resamples.
        coverage: Coverage of the intervals, e.g. 0.95.
        development: The tested splits other than the official test split.
        note: The experiment's note.
    """

    experiment: str
    claims: tuple[Claim[FoldFile], ...]
    model: ModelConfig
    tokens: int
    shots: tuple[int, ...]
    training_seeds: int
    resamples: int
    coverage: float
    development: tuple[str, ...]
    note: str

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "WriteClaims":
        """The job of the whole experiment."""
        experiment, settings = plan.experiment, plan.experiment.evaluation
        seen = plan.features.extracted(experiment.model.features)
        height, width = backbone_spec(seen.backbone).grid(seen.long_side, seen.long_side)
        return cls(
            experiment.name,
            tuple(claim.of(plan.runs.fold_file) for claim in plan.runs.claims),
            experiment.model.of_model("umtfss"),
            height * width,
            tuple(settings.shots),
            settings.training_seeds,
            settings.bootstrap,
            settings.interval,
            tuple(
                sorted({split for table in plan.runs.every_table for split in table.development})
            ),
            experiment.tables.note,
        )

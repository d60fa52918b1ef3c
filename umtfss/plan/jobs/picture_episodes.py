"""The job of the rule `picture_episodes`."""

from dataclasses import dataclass

from umtfss.plan.jobs.evaluate_run import BesideFloor


@dataclass(frozen=True)
class PictureEpisodes(BesideFloor):
    """Picture the best, the median and the worst test episode of every class."""

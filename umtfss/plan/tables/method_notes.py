"""What a frozen backbone, or this pipeline, takes from a published method: sentences for notes."""

from collections.abc import Iterable

# Meta-learner -> the difference between its row and the published system.
NOTES = {
    "hsnet": "HSNet correlates the levels of the mid feature on one grid; its quoted numbers are "
    "of 13 levels on three grids, scored on images squashed to 400 px",
    "asnet": "ASNet reads what HSNet does; its quoted numbers differ in the same",
    "transductive": "TransductiveMatcher is RePRI's inference on features that no base class tuned",
    "repri": "RePRI trains a head on the base classes (or clusters), not the backbone",
    "ppnet": "PPNet learns a linear map of frozen features, and its regions come from training "
    "images, not from images of the tested class",
    "bam": "BAM's base head is trained beside its meta-learner, on a backbone that no base class "
    "tuned; on clusters, a cluster counts by the part of the support's foreground outside it",
    "catrans": "CATrans is after the paper, as it has no official code: it maps frozen features "
    "linearly where the published backbone is trained, and reads affinities in a frame of 12 x 12",
}


def method_note(models: Iterable[str]) -> str:
    """The sentences on the models of a table."""
    return " ".join(f"{NOTES[model]}." for model in models if model in NOTES)

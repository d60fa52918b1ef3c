"""The catalogue of meta-learners."""

# Every meta-learner: its file in umtfss/models -> the class in it, which is also its title.
MODELS = {
    "umtfss": "UMTFSS",
    "pfenet": "PFENet",
    "cyctr": "CyCTR",
    "masksplit": "MaskSplit",
    "prototype": "PrototypeMatcher",
}


PAPER_MODELS = ("pfenet", "cyctr", "umtfss")  # that its claims are about


TRAINING_FREE = ("prototype",)


WITH_TRANSFORMER = ("umtfss", "cyctr")  # it has an optimiser of its own


MASKSPLIT = "masksplit"  # without labels it has tasks of its own, "saliency"

"""The catalogue of meta-learners."""

# Name of a meta-learner, also of its file in umtfss/models -> its title, also its class.
MODELS = {
    "umtfss": "UMTFSS",
    "pfenet": "PFENet",
    "cyctr": "CyCTR",
    "masksplit": "MaskSplit",
    "repri": "RePRI",
    "bam": "BAM",
    "hsnet": "HSNet",
    "asnet": "ASNet",
    "ppnet": "PPNet",
    "catrans": "CATrans",
    "prototype": "PrototypeMatcher",
    "transductive": "TransductiveMatcher",
}


PAPER_MODELS = ("pfenet", "cyctr", "umtfss")  # the paper's claims compare these


TRAINING_FREE = ("prototype", "transductive")


WITH_TRANSFORMER = ("umtfss", "cyctr")  # AdamW optimises the transformer


MASKSPLIT = "masksplit"  # without labels this model trains on its own tasks, "saliency"

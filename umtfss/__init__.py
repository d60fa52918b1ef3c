"""Label-efficient few-shot segmentation with unsupervised meta-training (UMTFSS)."""

__version__ = "0.1.0"

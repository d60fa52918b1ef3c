"""Checks and measurements of a CUDA machine, without data, downloads or pretrained weights."""

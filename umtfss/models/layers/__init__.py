"""Layers of the meta-learners."""

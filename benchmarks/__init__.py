"""Measurements of speed, against the code that a user would otherwise run."""

"""Frozen backbones: what is known of them, their weights, and their features."""

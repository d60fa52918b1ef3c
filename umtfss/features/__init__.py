"""Frozen features: geometry, cache, live computation and diffusion."""

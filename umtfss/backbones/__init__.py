"""Frozen backbones: networks, pretrained weights and extractors."""

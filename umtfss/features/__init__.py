"""The cache of frozen features: its making and its reading."""

"""Data: raw files on disk -> images, masks and a verified list of each split."""

"""Data: from raw files on disk to images, masks and a verified list for each split."""

"""The ground: errors, log, files, digests, randomness, processes; nothing of segmentation."""

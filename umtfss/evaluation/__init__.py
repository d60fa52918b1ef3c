"""Testing of models: counts per episode, mIoU and intervals."""

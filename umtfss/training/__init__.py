"""Meta-training: the loop, optimisers, checkpoints, several processes."""

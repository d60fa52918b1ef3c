"""What follows from an experiment: runs, cells, paths, features, cost."""

"""The plan that follows from an experiment: runs, cells, paths, features, cost."""

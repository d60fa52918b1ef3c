"""The contents of an experiment file: one module a block, and catalogues of names."""

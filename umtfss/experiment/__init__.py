"""What an experiment file may say: one module a block, and catalogues of names."""

"""Episodes: drawing, files and batches."""

"""From pixel embeddings to clusters: pixel k-means."""

"""From pixel embeddings to clusters: pixel k-means, its gallery, and Hamming k-means."""

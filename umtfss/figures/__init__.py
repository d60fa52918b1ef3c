"""Pictures of results: clusters, tables and predictions."""

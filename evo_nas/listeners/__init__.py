"""Who watches a search: progress, weights, TensorBoard."""

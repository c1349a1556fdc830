"""Image sets as arrays and device tensors."""

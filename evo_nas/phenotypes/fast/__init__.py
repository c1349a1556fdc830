"""A network's function by ways that are faster on the CPU."""

"""Evaluators: from a genotype to its fitness."""

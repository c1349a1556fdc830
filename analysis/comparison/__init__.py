"""Strategies side by side: numbers, whether they may be compared, and how far to trust that."""

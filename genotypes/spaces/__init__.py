"""The search spaces, one per file."""

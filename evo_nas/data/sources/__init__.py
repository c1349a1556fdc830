"""Sources of image sets: found, fetched, checked."""

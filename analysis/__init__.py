"""Looking back on searches: frames, curves, comparisons, pictures."""

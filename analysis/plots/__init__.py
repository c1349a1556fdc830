"""Pictures of runs, and the files that they are saved in."""

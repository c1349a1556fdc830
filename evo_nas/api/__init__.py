"""Functions for a Python session that are more than a function of another room, as ``evo_nas.resume(...)``."""

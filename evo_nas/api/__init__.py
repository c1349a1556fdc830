"""What a Python session calls, where that is more than a function of another room; had as ``evo_nas.resume(...)``."""

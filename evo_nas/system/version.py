"""The version of evo_nas, for the command line, the records of runs and the packaging."""

__version__ = "0.1.0"

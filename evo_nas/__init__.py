"""evo_nas: neural architecture search that a researcher can trust and an engineer can run."""

__version__ = "0.1.0"

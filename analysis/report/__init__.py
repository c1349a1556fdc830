"""Runs as one page: what is said in :mod:`analysis.report.contents`, how it looks in :mod:`analysis.report.page`."""

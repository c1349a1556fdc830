"""Phenotypes: from readable cells to torch modules, and what those cost."""

"""Cells: laid out, drawn, counted, and how far they are apart."""

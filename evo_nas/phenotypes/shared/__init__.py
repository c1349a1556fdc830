"""Supernets: one set of weights that all networks of a space share."""

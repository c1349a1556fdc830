"""Scores of networks that need no training: plug-ins of one contract, which share passes through the network."""

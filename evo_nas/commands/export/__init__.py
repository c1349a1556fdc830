"""The command ``export``: cells and networks as files that other programs read."""

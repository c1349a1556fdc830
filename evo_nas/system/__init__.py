"""This machine: resources, terminal, files that are written whole, links, cache, failpoints."""

"""Weights files and the catalog of those that come with upres."""

"""Faithful super-resolution with the eight classic networks."""

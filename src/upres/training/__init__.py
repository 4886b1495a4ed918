"""Recipes, losses and the loop."""

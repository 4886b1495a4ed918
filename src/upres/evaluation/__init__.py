"""Scores that can be reproduced to the second decimal."""

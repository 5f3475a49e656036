"""Proteins by words or likeness, and texts for proteins."""

"""Ablations: samples, runs and their table."""

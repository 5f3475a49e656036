"""Figures and pictures that several tasks share."""

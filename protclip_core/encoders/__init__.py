"""Protein encoders, and what turns sequences into their input."""

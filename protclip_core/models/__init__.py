"""Encoders, their weights and what surrounds them."""

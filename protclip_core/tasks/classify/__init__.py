"""Heads on labels of one's own: fitted, measured, used."""

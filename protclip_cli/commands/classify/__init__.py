"""``protclip classify``."""

"""``protclip similarity``."""

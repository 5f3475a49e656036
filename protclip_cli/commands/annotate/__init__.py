"""``protclip annotate``."""

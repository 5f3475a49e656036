"""``protclip ppi``."""

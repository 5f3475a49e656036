"""``protclip mutate``."""

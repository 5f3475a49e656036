"""Models as a user sees them: described, loaded, imported."""

"""From pairs and terms to batches."""

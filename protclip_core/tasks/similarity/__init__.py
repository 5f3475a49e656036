"""Similarity of pairs of proteins, and how well it follows that of their terms."""

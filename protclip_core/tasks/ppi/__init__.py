"""Interaction of pairs of proteins: heads, splits, leaks, figures."""

"""Scores of variants, and heads fitted to measured ones."""

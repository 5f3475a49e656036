"""Variants from files of any of the forms that people have."""

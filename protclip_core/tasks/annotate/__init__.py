"""Annotation of proteins with GO terms and other vocabularies."""

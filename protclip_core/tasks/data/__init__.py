"""Releases of GO and indexes of them."""

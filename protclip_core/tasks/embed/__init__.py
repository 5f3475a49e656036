"""FASTA to vectors: planned, computed, resumed, put together."""

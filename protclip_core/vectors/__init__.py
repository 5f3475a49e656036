"""The way from any input, FASTA or store, to vectors."""

"""Lists and tables of pairs of proteins."""

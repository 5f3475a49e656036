"""The index of term texts: scores, calibration, votes of relatives, vocabularies."""

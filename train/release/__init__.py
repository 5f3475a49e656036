"""From a checkpoint to what ships: bundle, index, calibration, vocabularies."""

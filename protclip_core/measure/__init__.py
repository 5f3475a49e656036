"""What is counted and compared, on arrays alone: metrics, neighbours, pairs, calibration."""

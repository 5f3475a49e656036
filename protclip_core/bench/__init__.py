"""What measures: metrics with intervals."""

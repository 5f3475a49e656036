"""What a run is made of, read from TOML."""

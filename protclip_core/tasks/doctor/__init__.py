"""What is wrong with this installation, if anything."""

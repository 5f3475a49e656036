"""What the commands call: one module a command."""

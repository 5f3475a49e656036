"""One module a command, or a folder where a command has several."""

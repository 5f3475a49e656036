"""protclip's terminal: the only place with typer, rich, exit codes and standard output."""

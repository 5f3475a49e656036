"""``python -m protclip_cli``: the same as ``protclip``."""

from protclip_cli.entry import run

run()

"""Releases of GO: where the fetched one is kept, and how any is read."""

from __future__ import annotations

from pathlib import Path

from protclip_core.fetch.cache import cache_folder
from protclip_core.io.streams import open_input
from protclip_core.ontology.go_table import read_go_table
from protclip_core.ontology.obo import read_obo
from protclip_core.ontology.ontology import Ontology

__all__ = ["FILE_NAME", "pulled_path", "read_go"]

FILE_NAME = "go-basic.obo"


def pulled_path(cache: str | Path | None = None) -> Path:
    """Return where `protclip data go pull` keeps the release."""
    return cache_folder(cache) / "go" / FILE_NAME


def read_go(path: str | Path, *, definitions: bool = True) -> Ontology:
    """Read a release of GO: an OBO file, or a table of its terms.

    Raises
    ------
    InputError, ModelError
        As `read_obo` and `read_go_table`.
    """
    if str(path) != "-":
        with open_input(path) as stream:
            if stream.peek(3)[:3] == b"id\t":
                return read_go_table(path, definitions=definitions)
    return read_obo(path, definitions=definitions)

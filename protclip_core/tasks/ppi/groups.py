"""The two groups of proteins whose pairs are predicted: stores, FASTA files, or lists of names."""

from __future__ import annotations

from collections.abc import Iterator

from protclip_core.io.streams import open_input, source_name
from protclip_core.io.text_rows import lines_of, refuse_foreign
from protclip_core.vectors.source import is_store, stored_ids

__all__ = ["has_proteins", "names_of_group"]


def has_proteins(path: str) -> bool:
    """Tell whether a file has the proteins themselves: vectors or sequences, not names alone.

    Standard input, which can be read once only, is taken for a list of names.
    """
    if path == "-":
        return False
    if is_store(path):
        return True
    with open_input(path) as stream:
        first = next(lines_of(stream, source_name(path)), (0, ""))
    return first[1].startswith(">")


def names_of_group(path: str) -> Iterator[tuple[int, str]]:
    """Give the names of a group with the number of the line, or of the record.

    Parameters
    ----------
    path
        A store or table of vectors; a FASTA file, plain or compressed; or a list of names, one a
        line, where blank lines, those that start with ``#`` and further columns are passed over.

    Raises
    ------
    InputError, ModelError
        A file that is damaged or of another kind.
    """
    if path != "-" and is_store(path):
        yield from enumerate(stored_ids(path), 1)
        return
    name = source_name(path)
    count, is_fasta = 0, False
    with open_input(path) as stream:
        for number, text in lines_of(stream, name):
            if not count:
                is_fasta = text.startswith(">")
            if not count and not is_fasta:
                refuse_foreign(text, name, "a list of names")
            if text.startswith("#") or (is_fasta and not text.startswith(">")):
                continue
            count += 1
            if is_fasta:
                yield count, "".join(text[1:].split()[:1])
            else:
                yield number, text.split("\t")[0].strip()

"""Entries of a file of pairs, as they are read.

Legend: L residues of a protein.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from protclip_core.encoders.alphabet import encode
from protclip_core.errors import InputError
from protclip_core.io.streams import open_input
from train.data.texts import Part, parts_of

__all__ = ["NO_KEY", "Protein", "key_of", "read_proteins", "split_of"]

#: Key of what is like nothing else.
NO_KEY = -1


@dataclass(frozen=True, eq=False)
class Protein:
    """One entry: residues as token ids without BOS and EOS, ``(L,)`` uint8, and its texts."""

    accession: str
    residues: np.ndarray
    parts: tuple[Part, ...]
    go: tuple[str, ...] = ()
    cluster: str = ""


def read_proteins(
    path: str | Path,
    split: str,
    go_names: Mapping[str, str],
    *,
    holdout: float | None = None,
    valid_split: str = "valid",
    structures: Container[str] = (),
    structures_only: bool = False,
) -> list[Protein]:
    """Read the entries of one split that have a text or a structure.

    Parameters
    ----------
    path
        JSON Lines, compressed or not; an object has ``accession``, ``sequence``, ``split`` and
        optionally ``name``, ``function``, ``location``, ``similarity`` and ``go``.
    split
        Only entries whose ``split`` is exactly this.
    go_names
        Names of the GO terms; empty for no GO texts.
    holdout, valid_split
        See `split_of`; by default an entry without a split is an error.
    structures
        Accessions that have one; of the others in ``also`` of an entry, the first that has one
        becomes its accession.
    structures_only
        Leave out entries without.

    Raises
    ------
    InputError
        A line that cannot be read, by its number, or a split without entries.
    """
    found = []
    with open_input(Path(path)) as file:
        for number, line in enumerate(file, start=1):
            try:
                entry = json.loads(line)
                if holdout is None:
                    own = entry["split"]
                else:
                    own = split_of(entry.get("split", ""), entry["accession"], holdout, valid_split)
                if own != split:
                    continue
                residues = encode(entry["sequence"])[1:-1].copy()
                accession, go = str(entry["accession"]), tuple(entry.get("go") or ())
                cluster = "" if entry.get("cluster") is None else str(entry["cluster"])
                names = (accession, *map(str, entry.get("also") or ()))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(
                    f"cannot be read ({error!r})", code="input.bad_line", where=f"{path}:{number}"
                ) from error
            parts = parts_of(entry, go_names)
            named = next((name for name in names if name in structures), None)
            if len(residues) and (named or (parts and not structures_only)):
                found.append(Protein(named or accession, residues, parts, go, cluster))
    if not found:
        what = "structure" if structures_only else "text"
        raise InputError(
            f"no entry of split {split!r} has a {what}", code="input.empty_split", where=str(path)
        )
    return found


def key_of(name: str) -> int:
    """Return a number of 64 bits that only equal names share; `NO_KEY` for none."""
    if not name:
        return NO_KEY
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def split_of(split: str, accession: str, holdout: float, valid_split: str = "valid") -> str:
    """Return an entry's split; where it has none, ``valid_split`` for a fixed share, else "train".

    The choice follows the accession alone: it is the same on every run and rank.
    """
    if split:
        return split
    digest = hashlib.blake2b(accession.encode(), digest_size=8).digest()
    return valid_split if int.from_bytes(digest, "little") < holdout * 2.0**64 else "train"

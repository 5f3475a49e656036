"""What a structure file is, told from its first bytes, and the name of what it holds."""

from __future__ import annotations

import re
from pathlib import PurePath

__all__ = ["SNIFF", "named_as_structure", "stem_of", "structure_form"]

#: Bytes from the start of a file that tell its format.
SNIFF = 1 << 16

_PROLOGUE = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s|#[^\n]*(?:\n|$))*")
_CIF = re.compile(rb"data_[^\s]", re.IGNORECASE)
#: A map of MessagePack with one of the keys that BinaryCIF has at the top.
_BINARY_CIF = re.compile(rb"(?:[\x80-\x8f]|\xde..|\xdf....)[\xa0-\xbf](?:encoder|version|dataBl)")
# Words that also begin an English sentence need what follows them in the format.
_PDB = re.compile(
    rb"(?:HEADER|OBSLTE|TITLE |SPLIT |CAVEAT|COMPND|SOURCE|KEYWDS|EXPDTA|NUMMDL|MDLTYP|AUTHOR"
    rb"|REVDAT|SPRSDE|JRNL  |DBREF |SEQADV|SEQRES|MODRES|HET   |HETNAM|FORMUL|HELIX |SHEET "
    rb"|SSBOND|LINK  |CISPEP)[ \d]"
    rb"|REMARK(?: +\d+\b| {3}|\s)|CRYST1 +\d|ORIGX\d +|SCALE\d +|MTRIX\d +|PARENT N/A"
    rb"|MODEL +\d+ *[\r\n]|(?:ATOM  |HETATM)[ \dA-Z*]{5}|USER  [^\n]*\n|END *[\r\n]"
)
_PACKED = (".gz", ".bz2", ".zst", ".xz")
_SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif", ".bcif", ".pdb1", ".mcif")


def structure_form(start: bytes) -> str | None:
    """Tell the format of a structure file from its content.

    Parameters
    ----------
    start
        The first bytes, decompressed; `SNIFF` of them are enough.

    Returns
    -------
    str or None
        ``"pdb"``, ``"mmcif"`` or ``"bcif"``; None for anything else.

    Examples
    --------
    >>> structure_form(b"# made by hand" + bytes([10]) + b"data_1ABC")
    'mmcif'
    """
    if _BINARY_CIF.match(start):
        return "bcif"
    prologue = _PROLOGUE.match(start)
    text = start[prologue.end() if prologue else 0 :]
    if _CIF.match(text):
        return "mmcif"
    return "pdb" if _PDB.match(text) else None


def named_as_structure(name: str) -> bool:
    """Tell whether a file has the name of a structure file, compressed or not."""
    return stem_of(name) != _unpacked(name)


def stem_of(name: str) -> str:
    """Return the name of a file without the suffixes of compression and of its format.

    Examples
    --------
    >>> stem_of("pdb/AF-P12345-F1-model_v4.cif.gz"), stem_of("1abc.v2")
    ('AF-P12345-F1-model_v4', '1abc.v2')
    """
    inner = _unpacked(name)
    suffix = PurePath(inner).suffix
    return inner[: -len(suffix)] if suffix.lower() in _SUFFIXES else inner


def _unpacked(name: str) -> str:
    base = PurePath(name).name
    suffix = PurePath(base).suffix
    return base[: -len(suffix)] if suffix.lower() in _PACKED else base

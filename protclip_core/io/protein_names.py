"""Finding the protein that a file of variants means among the ids of a FASTA file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from protclip_core.records import printable

__all__ = ["NameMatch", "ProteinNames"]

#: STRING writes the taxon in front: 9606.ENSP00000000233.
_TAXON = re.compile(r"[0-9]{1,8}\.(?=[A-Za-z])(.+)")
_VERSION = re.compile(r"(.+)\.[0-9]{1,4}")
_SHOWN = 3  # ids named in a reason


@dataclass(frozen=True, slots=True)
class NameMatch:
    """What a name stands for.

    Attributes
    ----------
    id
        The id of the FASTA file; None where the name fits none, or several as well.
    reason
        Why none; empty where there is one.
    version_differs
        Both have a version, and not the same one: the sequences may differ.
    """

    id: str | None
    reason: str = ""
    version_differs: bool = False


class ProteinNames:
    """Names by which proteins can be found.

    A name fits an id in the first of these ways that leads to any: it is the id; it is one of
    the parts of the id between ``|`` (``P04637`` and ``P53_HUMAN`` of ``sp|P04637|P53_HUMAN``);
    one of them is the other without its version (``ENSP00000269305.4``); both have versions that
    differ. The parts of a name with ``|`` are then tried in the same way, and at last the name or
    the id without the taxon that STRING writes in front (``9606.ENSP00000269305``). Case counts.

    Parameters
    ----------
    ids
        Ids of the proteins; repeated ones count once.
    where
        What holds them, for reasons.

    Examples
    --------
    >>> names = ProteinNames(["sp|P04637|P53_HUMAN", "ENSP00000269305.4"])
    >>> names.find("P04637").id, names.find("ENSP00000269305").id
    ('sp|P04637|P53_HUMAN', 'ENSP00000269305.4')
    >>> names.find("Q9Y2X3").reason
    "no protein 'Q9Y2X3' in the FASTA file"
    """

    def __init__(self, ids: Iterable[str], where: str = "the FASTA file") -> None:
        self._where = where
        self._ids = dict.fromkeys(ids)
        self._parts: dict[str, list[str]] = {}
        self._bases: dict[str, list[str]] = {}
        self._untaxed: dict[str, list[str]] = {}
        for id in self._ids:
            parts = dict.fromkeys(part for part in id.split("|") if part)
            for part in parts if "|" in id else ():
                self._parts.setdefault(part, []).append(id)
            for base in dict.fromkeys(map(_base, parts)):
                self._bases.setdefault(base, []).append(id)
            if taxon := _TAXON.fullmatch(id):
                self._untaxed.setdefault(taxon[1], []).append(id)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, name: str) -> bool:
        return self.find(name).id is not None

    def only(self) -> str | None:
        """Return the id of the only protein, None where there are several or none."""
        return next(iter(self._ids)) if len(self._ids) == 1 else None

    def find(self, name: str) -> NameMatch:
        """Find the protein that a name stands for; never raises."""
        name = name.strip()
        tried = [name, *(part for part in name.split("|") if len(part) > 2 and part != name)]
        ambiguous: NameMatch | None = None
        for part in tried:
            match = self._find(part)
            if match.id is not None:
                return match
            if match.reason:
                ambiguous = ambiguous or match
        if ambiguous is None and (taxon := _TAXON.fullmatch(name)):
            match = self._find(taxon[1])
            if match.id is not None and not match.version_differs:
                return match
        if ambiguous is None and (found := self._untaxed.get(name)):
            return self._one(name, found)
        return ambiguous or NameMatch(None, f"no protein '{printable(name)}' in {self._where}")

    def _find(self, name: str) -> NameMatch:
        if name in self._ids:
            return NameMatch(name)
        if found := self._parts.get(name):
            return self._one(name, found)
        base = _base(name)
        found = self._bases.get(base, [])
        if not found:
            return NameMatch(None)
        bare = [id for id in found if base in id.split("|")]
        if bare:  # the id has no version, so it fits any
            return self._one(name, bare)
        return self._one(name, found, version_differs=base != name)

    def _one(self, name: str, found: list[str], *, version_differs: bool = False) -> NameMatch:
        if len(found) == 1:
            return NameMatch(found[0], "", version_differs)
        shown = ", ".join(printable(id) for id in found[:_SHOWN])
        more = ", …" if len(found) > _SHOWN else ""
        return NameMatch(
            None, f"'{printable(name)}' fits {len(found)} proteins of {self._where}: {shown}{more}"
        )


def _base(name: str) -> str:
    """Name without its version."""
    match = _VERSION.fullmatch(name)
    return match[1] if match else name

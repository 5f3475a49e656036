"""Evidence codes of GO annotations, and groups of them."""

from __future__ import annotations

from collections.abc import Iterable

from protclip_core.errors import UsageError
from protclip_core.records import printable

__all__ = ["EVIDENCE_GROUPS", "EXPERIMENTAL", "KNOWN_EVIDENCE", "evidence_codes", "evidence_of_eco"]

#: Codes of experiments, single ones and those of high throughput.
EXPERIMENTAL = frozenset(
    ["EXP", "IDA", "IPI", "IMP", "IGI", "IEP", "HTP", "HDA", "HMP", "HGI", "HEP"]
)
#: Names that stand for several codes. CAFA also counts traceable statements and curators.
EVIDENCE_GROUPS: dict[str, frozenset[str]] = {
    "experimental": EXPERIMENTAL,
    "cafa": EXPERIMENTAL | {"TAS", "IC"},
    "phylogenetic": frozenset(["IBA", "IBD", "IKR", "IRD", "IMR"]),
    "computational": frozenset(["ISS", "ISO", "ISA", "ISM", "IGC", "RCA"]),
    "statement": frozenset(["TAS", "NAS", "IC", "ND"]),
    "electronic": frozenset(["IEA"]),
}
#: All codes that GO uses or has used.
KNOWN_EVIDENCE = frozenset().union(*EVIDENCE_GROUPS.values()) | {"NR"}
#: What says something of a protein; and of that, what a person has looked at.
EVIDENCE_GROUPS["all"] = KNOWN_EVIDENCE - {"ND"}
EVIDENCE_GROUPS["curated"] = EVIDENCE_GROUPS["all"] - {"IEA"}
#: The classes of the Evidence and Conclusion Ontology that GO's codes stand for by default, and
#: some below them that GPAD files of UniProt use.
_ECO = {
    "EXP": "0000269",
    "IDA": "0000314",
    "IPI": "0000353",
    "IMP": "0000315",
    "IGI": "0000316",
    "IEP": "0000270",
    "HTP": "0006056",
    "HDA": "0007005",
    "HMP": "0007001",
    "HGI": "0007003",
    "HEP": "0007007",
    "ISS": "0000250 0000031",
    "ISO": "0000266",
    "ISA": "0000247",
    "ISM": "0000255 0000202",
    "IGC": "0000317",
    "IBA": "0000318",
    "IBD": "0000319",
    "IKR": "0000320",
    "IRD": "0000321",
    "RCA": "0000245",
    "TAS": "0000304",
    "NAS": "0000303",
    "IC": "0000305",
    "ND": "0000307",
    "IEA": "0000501 0000256 0000259 0000265 0000322 0000323 0000363 0000364 0000366 0007322 "
    "0007669 0007826 0008006",
}
_OF_ECO = {f"ECO:{number}": code for code, some in _ECO.items() for number in some.split()}


def evidence_codes(wanted: str | Iterable[str] | None) -> frozenset[str]:
    """Return the codes that some codes and groups stand for.

    Parameters
    ----------
    wanted
        Codes and names of `EVIDENCE_GROUPS`, one or more. None stands for ``all``, which leaves
        out ND: it says that nothing is known.

    Raises
    ------
    UsageError
        A name that is neither, or none at all.
    """
    if wanted is None:
        return EVIDENCE_GROUPS["all"]
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    found: set[str] = set()
    for name in names:
        if name.lower() in EVIDENCE_GROUPS:
            found |= EVIDENCE_GROUPS[name.lower()]
        elif name.upper() in KNOWN_EVIDENCE:
            found.add(name.upper())
        else:
            raise UsageError(
                f"unknown evidence {printable(name)!r}",
                code="usage.unknown_evidence",
                hint=f"give codes (IDA, IEA, …) or {', '.join(EVIDENCE_GROUPS)}",
            )
    if not found:
        raise UsageError(
            "no evidence code is given",
            code="usage.bad_value",
            hint="leave it out to take all but ND",
        )
    return frozenset(found)


def evidence_of_eco(id: str) -> str:
    """Return the code of GO that a class of ECO stands for; the id itself where none is known.

    Examples
    --------
    >>> evidence_of_eco("ECO:0000314")
    'IDA'
    """
    return _OF_ECO.get(id, id)

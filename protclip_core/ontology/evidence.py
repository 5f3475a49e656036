"""Evidence codes of GO annotations, and groups of them."""

from __future__ import annotations

from collections.abc import Iterable

from protclip_core.errors import UsageError
from protclip_core.records import printable

__all__ = ["EVIDENCE_GROUPS", "EXPERIMENTAL", "KNOWN_EVIDENCE", "evidence_codes"]

#: Codes of experiments, single ones and those of high throughput.
EXPERIMENTAL = frozenset(
    ["EXP", "IDA", "IPI", "IMP", "IGI", "IEP", "HTP", "HDA", "HMP", "HGI", "HEP"]
)
#: Names that stand for several codes. CAFA also counts traceable statements and curators.
EVIDENCE_GROUPS = {
    "experimental": EXPERIMENTAL,
    "cafa": EXPERIMENTAL | {"TAS", "IC"},
    "phylogenetic": frozenset(["IBA", "IBD", "IKR", "IRD", "IMR"]),
    "computational": frozenset(["ISS", "ISO", "ISA", "ISM", "IGC", "RCA"]),
    "statement": frozenset(["TAS", "NAS", "IC", "ND"]),
    "electronic": frozenset(["IEA"]),
}
#: All codes that GO uses or has used.
KNOWN_EVIDENCE = frozenset().union(*EVIDENCE_GROUPS.values()) | {"NR"}


def evidence_codes(wanted: str | Iterable[str] | None) -> frozenset[str]:
    """Return the codes that some codes and groups stand for.

    Parameters
    ----------
    wanted
        Codes and names of `EVIDENCE_GROUPS`, one or more. None stands for all but ND, which says
        that nothing is known.

    Raises
    ------
    UsageError
        A name that is neither, or none at all.
    """
    if wanted is None:
        return KNOWN_EVIDENCE - {"ND"}
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

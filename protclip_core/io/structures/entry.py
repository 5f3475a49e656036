"""The content of one structure file, parsed by gemmi, and what its header says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from protclip_core.errors import InputError
from protclip_core.io.streams import looks_like, wide_encoding
from protclip_core.io.structures.bcif import decode_bcif
from protclip_core.io.structures.formats import SNIFF, structure_form
from protclip_core.records import printable

if TYPE_CHECKING:
    import gemmi

__all__ = ["Entry", "parse_structure"]

#: Columns of a PDB line up to the temperature factor. What follows is misplaced in many files
#: of docking programs, and nothing of it is needed.
_PDB_WIDTH = 66
_SEQRES_CHAIN = re.compile(rb"^SEQRES.{5}(.)", re.MULTILINE)
_END = re.compile(rb"\nEND *\r?\n")
_ATOM = re.compile(rb"^(?:ATOM  |HETATM)", re.MULTILINE)
_BARE_PARENT = re.compile(rb"^PARENT ", re.MULTILINE)
#: Programs whose files have pLDDT in the place of temperature factors.
_PREDICTORS = re.compile(
    r"alphafold|colabfold|esm-?fold|esm (?:metagenomic )?atlas|openfold|omegafold|rosettafold"
    r"|boltz|\bchai-?1|protenix|helixfold",
    re.IGNORECASE,
)


@dataclass(frozen=True, eq=False)
class Entry:
    """A structure and what its header tells of it.

    Attributes
    ----------
    structure
        As gemmi reads it, with entities set up and all models.
    name
        Its own name: the PDB code, or that of the block of data; may be empty.
    predicted
        Whether temperature factors are pLDDT; None where only the numbers can tell.
    listed
        Chains of which only the sequence is given.
    notes
        What of the file is not read.
    """

    structure: gemmi.Structure
    name: str
    predicted: bool | None
    listed: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def parse_structure(content: bytes, where: str) -> Iterator[Entry]:
    """Parse a structure file, of a format told by its content.

    Parameters
    ----------
    content
        The whole file, decompressed.
    where
        Its name for errors.

    Yields
    ------
    Entry
        One; of an mmCIF or BinaryCIF file one for each block that has atoms.

    Raises
    ------
    InputError
        It is empty, not a structure, damaged, or has no atoms.
    """
    form = structure_form(content[:SNIFF])
    if form is None:
        raise _not_a_structure(content, where)
    try:
        entries = _pdb(content) if form == "pdb" else _mmcif(content, form)
    except (RuntimeError, ValueError, MemoryError, IndexError) as error:
        # gemmi names the place in the text itself, after a name that it made up.
        reason = re.sub(r"^(?:string|Line):?(?=\d)", "line ", str(error).partition("\n")[0])
        raise InputError(
            f"cannot be read as {_NAMES[form]} ({printable(reason, 120)})",
            code="input.bad_structure",
            where=where,
            hint="fetch it again, or check what wrote it",
        ) from error
    found = [e for e in entries if len(e.structure) and e.structure[0].count_atom_sites()]
    if not found:
        raise InputError(
            f"{_NAMES[form]} without atoms",
            code="input.no_atoms",
            where=where,
            hint="check whether the file is whole",
        )
    yield from found


_NAMES = {"pdb": "a PDB file", "mmcif": "an mmCIF file", "bcif": "a BinaryCIF file"}


def _not_a_structure(content: bytes, where: str) -> InputError:
    if not content.strip(b"\0 \t\r\n"):
        what = "has no atoms: it is empty" if not content else "has nothing but blanks or NULs"
        return InputError(what, code="input.empty", where=where, hint="fetch it again")
    encoding = wide_encoding(content[:512])
    look = f"text in {encoding}" if encoding else looks_like(content.lstrip()[:512])[0]
    return InputError(
        f"not a structure but {look}",
        code="input.unknown_format",
        where=where,
        hint="give PDB, mmCIF or BinaryCIF",
    )


def _pdb(content: bytes) -> list[Entry]:
    import gemmi

    try:
        structure = gemmi.read_pdb_string(content)
    except (RuntimeError, ValueError):
        structure = gemmi.read_pdb_string(content, max_line_length=_PDB_WIDTH)
    _set_up(structure)
    present = {chain.name for model in structure for chain in model}
    first = _ATOM.search(content)
    header = content[: first.start() if first else len(content)]
    named = {match.decode("latin-1").strip() for match in _SEQRES_CHAIN.findall(header)}
    told = dict(structure.info.items()).get("_entry.id", "")
    entry = Entry(
        structure,
        told.strip(),
        _predicted(structure, bare_parent=_BARE_PARENT.search(header) is not None),
        tuple(sorted(named - present)) if len(structure) else (),
    )
    end = content.find(b"\nEND")  # a line of ENDMDL may come first
    while end >= 0 and not _END.match(content, end):
        end = content.find(b"\nEND", end + 1)
    if end >= 0 and _ATOM.search(content, end + 1):
        entry.notes.append("atoms follow after END, which are not read")
    return [entry]


def _mmcif(content: bytes, form: str) -> list[Entry]:
    import gemmi

    document = decode_bcif(content) if form == "bcif" else gemmi.cif.read_string(content)
    entries = []
    for block in document:
        if not block.find_values("_atom_site.Cartn_x"):
            continue
        structure = gemmi.make_structure_from_block(block)
        _set_up(structure)
        metrics = (
            *block.find_values("_ma_qa_metric.name"),
            *block.find_values("_ma_qa_metric.type"),
        )
        scores = any("plddt" in text.lower() for text in metrics)
        software = " ".join(block.find_values("_software.name"))
        predicted = True if scores else _predicted(structure, software)
        present = {residue.subchain for chain in structure[0] for residue in chain}
        listed = {
            entity.name
            for entity in structure.entities
            if entity.full_sequence and not present & set(entity.subchains)
        }
        entries.append(Entry(structure, block.name, predicted, tuple(sorted(listed))))
    return entries


def _set_up(structure: gemmi.Structure) -> None:
    structure.merge_chain_parts()
    structure.setup_entities()


def _predicted(
    structure: gemmi.Structure, software: str = "", *, bare_parent: bool = False
) -> bool | None:
    """Tell from the header whether a model was predicted; None if there is no header at all."""
    told = dict(structure.info.items())
    method = told.get("_exptl.method", "").upper()
    if (method and "THEORETICAL" not in method) or structure.resolution > 0:
        return False  # its title may well name a program that helped
    header = " ".join([software, *told.values(), *structure.raw_remarks])
    # ESMFold and OpenFold write a line PARENT, which the PDB does not have.
    if _PREDICTORS.search(header) or bare_parent:
        return True
    # ColabFold writes atoms alone.
    silent = not (told.get("_struct.title") or structure.raw_remarks or software or method)
    return None if silent and not structure.cell.is_crystal() else False

"""Small structure files, written atom by atom."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

NAMES = {
    "A": "ALA",
    "C": "CYS",
    "D": "ASP",
    "E": "GLU",
    "F": "PHE",
    "G": "GLY",
    "H": "HIS",
    "I": "ILE",
    "K": "LYS",
    "L": "LEU",
    "M": "MET",
    "N": "ASN",
    "P": "PRO",
    "Q": "GLN",
    "R": "ARG",
    "S": "SER",
    "T": "THR",
    "V": "VAL",
    "W": "TRP",
    "Y": "TYR",
}
# Of one residue whose CA is the origin; the next CA is 3.8 Å along x, its N 1.33 Å behind C.
SHAPE = {"N": (-1.2, 0.7, 0), "CA": (0, 0, 0), "C": (1.27, 0.7, 0), "O": (1.3, 1.9, 0)}


@dataclass(frozen=True)
class Atom:
    """A line of a file; ``label`` is the place in the full sequence, for mmCIF."""

    name: str
    residue: str
    chain: str
    number: int
    xyz: tuple[float, float, float]
    b: float = 20.0
    occupancy: float = 1.0
    alt: str = ""
    icode: str = ""
    het: bool = False
    element: str = ""
    label: int | None = None
    model: int = 1


def residue(name, number, chain="A", *, x=None, atoms=tuple(SHAPE), **more):
    """Give the atoms of a residue, the CA at ``x``; 3.8 Å times its number by default."""
    x = 3.8 * number if x is None else x
    return [
        Atom(atom, name, chain, number, tuple(np.add(SHAPE[atom], (x, 0, 0))), **more)
        for atom in atoms
    ]


def peptide(sequence, chain="A", *, first=1, b=None, **more):
    """Give the atoms of a straight chain; ``b`` has a temperature factor for each residue."""
    return [
        dataclasses.replace(atom, b=20.0 if b is None else b[place])
        for place, letter in enumerate(sequence)
        for atom in residue(NAMES[letter], first + place, chain, **more)
    ]


def pdb(*groups, header="", end="END\n"):
    """Write atoms as PDB; a group is a chain, closed by TER, and a model starts where it says."""
    lines, model = [header], None
    several = len({atom.model for group in groups for atom in group}) > 1
    for group in groups:
        for serial, atom in enumerate(group, start=1):
            if several and atom.model != model:
                lines.append("ENDMDL\n" if model else "")
                model = atom.model
                lines.append(f"MODEL     {model:4d}\n")
            lines.append(_pdb_line(serial, atom))
        lines.append("TER\n")
    return "".join([*lines, "ENDMDL\n" if several else "", end])


def _pdb_line(serial, a):
    name = a.name if len(a.name) == 4 or len(a.element) == 2 else f" {a.name}"
    x, y, z = a.xyz
    return (
        f"{'HETATM' if a.het else 'ATOM  '}{serial:5d} {name:<4s}{a.alt or ' '}{a.residue:>3s} "
        f"{a.chain}{a.number:4d}{a.icode or ' '}   {x:8.3f}{y:8.3f}{z:8.3f}{a.occupancy:6.2f}"
        f"{a.b:6.2f}          {a.element or a.name[0]:>2s}\n"
    )


COLUMNS = (
    *("group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id"),
    *("label_asym_id", "label_entity_id", "label_seq_id", "pdbx_PDB_ins_code"),
    *("Cartn_x", "Cartn_y", "Cartn_z", "occupancy", "B_iso_or_equiv"),
    *("auth_seq_id", "auth_comp_id", "auth_asym_id", "auth_atom_id", "pdbx_PDB_model_num"),
)


def mmcif(*groups, name="TEST", header="", sequences=()):
    """Write atoms as mmCIF: group ``i`` is the asymmetric unit and the entity ``i``.

    ``sequences`` has for each group the residue names of its entity, a polymer.
    """
    lines = [f"data_{name}\n#\n", header]
    if sequences:
        polymers = "".join(
            f"{i} polymer\n" if names else f"{i} non-polymer\n"
            for i, names in enumerate(sequences, 1)
        )
        lines.append(f"loop_\n_entity.id\n_entity.type\n{polymers}#\n")
        units = "".join(f"{unit(i)} {i}\n" for i in range(1, len(sequences) + 1))
        lines.append(f"loop_\n_struct_asym.id\n_struct_asym.entity_id\n{units}#\n")
        lines.append(
            "loop_\n_entity_poly_seq.entity_id\n_entity_poly_seq.num\n_entity_poly_seq.mon_id\n"
            + "".join(
                f"{i} {place} {residue}\n"
                for i, names in enumerate(sequences, 1)
                for place, residue in enumerate(names, 1)
            )
            + "#\n"
        )
    lines.append("loop_\n" + "".join(f"_atom_site.{column}\n" for column in COLUMNS))
    for i, group in enumerate(groups, 1):
        for serial, a in enumerate(group, 1):
            x, y, z = (f"{value:.3f}" for value in a.xyz)
            values = ("HETATM" if a.het else "ATOM", serial, a.element or a.name[0], a.name)
            values += (a.alt or ".", a.residue, unit(i), i, a.label or ".", a.icode or "?")
            values += (x, y, z, a.occupancy, a.b, a.number, a.residue, a.chain, a.name, a.model)
            lines.append(" ".join(map(str, values)) + "\n")
    return "".join([*lines, "#\n"])


def unit(number):
    """Name the asymmetric unit ``number``, unlike any chain of the authors."""
    return f"U{number}"

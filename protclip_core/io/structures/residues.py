"""From the atoms of a parsed structure to chains of residues.

Legend: A atoms of a model, R residues of a chain in the file, L those of them that are kept.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from protclip_core.io.structures.chain import BACKBONE, Chain

if TYPE_CHECKING:
    import gemmi

__all__ = ["Found", "SHORTEST", "read_model"]

#: Fewest residues of a chain; two have no shape to speak of.
SHORTEST = 3
_CA = BACKBONE.index("CA")
#: Farthest that two atoms of a peptide bond are apart, and the CA atoms of neighbours, in ångström.
_BOND, _CA_STEP = 2.0, 4.5
#: Residue names of simulation programs; gemmi knows those of the PDB.
_ALIASES = {
    **dict.fromkeys(("HSD", "HSE", "HSP", "HID", "HIE", "HIP"), "H"),
    **dict.fromkeys(("CYX", "CYM"), "C"),
    "ASH": "D",
    "GLH": "E",
    "LYN": "K",
    "LSN": "K",
    "TYM": "Y",
}
_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Found:
    """What came of one chain of a file.

    Attributes
    ----------
    name
        Its id by the authors.
    chain
        Its residues; None if there is a ``reason`` not to use it, with its ``code``.
    expected
        Residues of the sequence that the file gives for it, observed or not; 0 if it gives none.
    dropped
        Residues left out for want of a CA atom.
    """

    name: str
    chain: Chain | None = None
    reason: str = ""
    code: str = ""
    expected: int = 0
    dropped: int = 0


def read_model(structure: gemmi.Structure, predicted: bool | None) -> Iterator[Found]:  # noqa: FBT001
    """Yield the chains of the first model, those of protein with their residues.

    Parameters
    ----------
    structure
        With entities set up. Further models are removed from it.
    predicted
        Whether temperature factors are pLDDT; None: to be told from the numbers.
    """
    import gemmi

    while len(structure) > 1:
        del structure[-1]
    atoms = _Atoms(gemmi.FlatStructure(structure))
    lengths = {
        subchain: len(entity.full_sequence)
        for entity in structure.entities
        for subchain in entity.subchains
    }
    if predicted is None:
        predicted = _flat_within_residues(structure[0], atoms)
    first = 0
    for chain in structure[0]:
        residues = list(chain)
        sizes = np.fromiter(map(len, residues), np.int64, len(residues))
        stop = first + int(sizes.sum())
        yield _read_chain(chain.name, residues, sizes, atoms.part(first, stop), lengths, predicted)
        first = stop


class _Atoms:
    """Columns of A atoms, in the order of the file."""

    def __init__(self, flat: gemmi.FlatStructure | None = None) -> None:
        if flat is None:
            return
        names = np.ascontiguousarray(flat.atom_names).view("S8")[:, 0]
        # Place of the atom's name in BACKBONE; -1 for any other, and for calcium.
        self.kinds = np.full(len(names), -1)
        for place, name in enumerate(BACKBONE):
            self.kinds[names == name.encode()] = place
        elements = np.asarray(flat.elements)
        self.kinds[(self.kinds == _CA) & (elements != _CARBON) & (elements > 0)] = -1
        self.positions = np.asarray(flat.pos, np.float64)
        self.kinds[~np.isfinite(self.positions).all(1)] = -1
        self.occupancy = np.nan_to_num(np.asarray(flat.occ, np.float64))
        self.altlocs = np.asarray(flat.altlocs, np.int64).reshape(-1)
        self.b = np.asarray(flat.b_iso, np.float32)

    def part(self, first: int, stop: int) -> _Atoms:
        """Return some of the atoms, as a view."""
        part = _Atoms()
        for name, values in vars(self).items():
            setattr(part, name, values[first:stop])
        return part


_CARBON = 6


def _read_chain(
    name: str,
    residues: list[gemmi.Residue],
    sizes: npt.NDArray[np.int64],
    atoms: _Atoms,
    lengths: dict[str, int],
    predicted: bool,  # noqa: FBT001
) -> Found:
    """Turn R residues, of ``sizes`` atoms each, into a chain."""
    import gemmi

    of_polymer = gemmi.EntityType.Polymer
    polymer = np.array([r.entity_type == of_polymer or r.name in _ALIASES for r in residues], bool)
    if not polymer.any():
        return Found(name, reason="is ligands or water", code="record.not_protein")
    owner = np.repeat(np.arange(len(residues)), sizes)
    chosen = _chosen_atoms(owner, atoms, len(residues))
    usable = polymer & (chosen[:, _CA] >= 0)
    if not usable.any():
        return _without_protein(name, [r for r, p in zip(residues, polymer, strict=True) if p])
    numbers = [(seqid.num or 0, seqid.icode) for seqid in (r.seqid for r in residues)]
    kept = _one_per_number(numbers, np.flatnonzero(usable), chosen, atoms)
    without = np.flatnonzero(polymer & ~usable).tolist()
    # Alternatives of a residue that is kept are not lost residues; caps of a chain never have CA.
    there = {numbers[place] for place in kept} if without else set()
    dropped = sum(
        numbers[place] not in there and not _is_cap(residues[place].name) for place in without
    )
    expected = lengths.get(residues[kept[0]].subchain, 0)
    if len(kept) < SHORTEST:
        reason = f"has {len(kept)} {'residue' if len(kept) == 1 else 'residues'} with a CA atom"
        reason += f", fewer than {SHORTEST}"
        return Found(
            name, reason=reason, code="record.too_short", expected=expected, dropped=dropped
        )
    backbone = np.full((len(kept), len(BACKBONE), 3), np.nan)
    places = chosen[kept]
    backbone[places >= 0] = atoms.positions[places[places >= 0]]
    chain = Chain(
        name,
        "".join(_letter(residues[place].name) for place in kept),
        backbone.astype(np.float32),
        _starts(
            np.array([numbers[place][0] for place in kept]),
            np.array([residues[place].label_seq or -1 for place in kept]),
            backbone,
        ),
        _confidence(atoms.b[places[:, _CA]]) if predicted else None,
    )
    return Found(name, chain, expected=expected, dropped=dropped)


def _without_protein(name: str, residues: list[gemmi.Residue]) -> Found:
    """Say what a polymer without any CA atom is."""
    kinds = [_kind(residue.name) for residue in residues]
    most = max(set(kinds), key=kinds.count)
    if most == "protein":
        count = f"{len(residues):,} residues" if len(residues) > 1 else "its one residue"
        return Found(name, reason=f"has no CA atom in {count}", code="record.no_ca")
    return Found(name, reason=f"is {most}", code="record.not_protein")


@functools.lru_cache(maxsize=4096)
def _kind(name: str) -> str:
    import gemmi

    known = gemmi.find_tabulated_residue(name)
    if known.is_nucleic_acid():
        return "DNA" if known.kind == gemmi.ResidueKind.DNA else "RNA"
    return "protein" if known.is_amino_acid() or name in _ALIASES else "not protein"


@functools.lru_cache(maxsize=4096)
def _letter(name: str) -> str:
    """Return the letter of a residue; of a modified one that of its parent."""
    import gemmi

    # gemmi gives modified residues in lower case.
    letter = gemmi.find_tabulated_residue(name).one_letter_code.upper()
    return _ALIASES.get(name) or (letter if "A" <= letter <= "Z" else "X")


def _is_cap(name: str) -> bool:
    return name in ("ACE", "NH2", "NME", "NMA", "FOR")


def _chosen_atoms(owner: npt.NDArray[np.int64], atoms: _Atoms, count: int) -> npt.NDArray[np.int64]:
    """Choose the atoms of the backbone.

    One conformer for each residue: the one in which CA has the highest occupancy, of equals the
    first by its letter. Where it lacks an atom, the best of the others stands in.

    Returns
    -------
    numpy.ndarray
        ``(R, 4)``: place of the atom, -1 if there is none.
    """
    chosen = np.full((count, len(BACKBONE)), -1)
    ours = np.flatnonzero(atoms.kinds >= 0)
    order = _ranked(ours, owner, atoms, np.zeros(len(ours), bool))
    cas = order[atoms.kinds[order] == _CA]
    letters = np.zeros(count, np.int64)
    letters[owner[cas[::-1]]] = atoms.altlocs[cas[::-1]]  # the first of each is written last
    if atoms.altlocs[ours].any():
        order = _ranked(ours, owner, atoms, atoms.altlocs[ours] == letters[owner[ours]])
    chosen[owner[order[::-1]], atoms.kinds[order[::-1]]] = order[::-1]
    return chosen


def _ranked(
    places: npt.NDArray[np.int64],
    owner: npt.NDArray[np.int64],
    atoms: _Atoms,
    preferred: npt.NDArray[np.bool_],
) -> npt.NDArray[np.int64]:
    """Sort atoms by residue, the best first: preferred, high occupancy, early letter."""
    keys: tuple[Any, ...] = (
        atoms.altlocs[places],
        -atoms.occupancy[places],
        ~preferred,
        owner[places],
    )
    return places[np.lexsort(keys)]


def _one_per_number(
    numbers: list[tuple[int, str]],
    places: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.int64],
    atoms: _Atoms,
) -> list[int]:
    """Keep one of neighbouring residues that have one number, by the rule for conformers.

    Farther apart, equal numbers are of different residues: PDB begins anew after 9,999.
    """
    kept: list[int] = []
    last: tuple[int, str] | None = None
    for place in places.tolist():
        number = numbers[place]
        if number != last:
            kept.append(place)
        else:
            one, other = chosen[kept[-1], _CA], chosen[place, _CA]
            if (-atoms.occupancy[other], atoms.altlocs[other]) < (
                -atoms.occupancy[one],
                atoms.altlocs[one],
            ):
                kept[-1] = place
        last = number
    return kept


def _starts(
    number: npt.NDArray[np.int64], label: npt.NDArray[np.int64], backbone: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Tell where a residue does not follow the one before it ``(L,)``.

    By its place ``label`` in the full sequence, where the file gives that (-1: it does not); then
    by a peptide bond; where atoms are missing or bad, by the distance of CA and, if the bond is
    known to be bad, by numbers that follow each other.
    """
    starts = np.ones(len(number), bool)
    bond = np.linalg.norm(backbone[1:, 0] - backbone[:-1, 2], axis=1)
    step = np.linalg.norm(backbone[1:, _CA] - backbone[:-1, _CA], axis=1)
    known = (label[1:] >= 0) & (label[:-1] >= 0)
    near = (step <= _CA_STEP) & ((np.diff(number) <= 1) | np.isnan(bond))
    bonded = (bond <= _BOND) | near  # a comparison with NaN is false
    starts[1:] = ~bonded | (known & (np.diff(label) != 1))
    return starts


def _confidence(values: _Floats) -> _Floats | None:
    """Return pLDDT on the scale of 0 to 100; None for numbers that cannot be that."""
    if values.min() < 0 or values.max() > 100 or values.max() == 0:
        return None
    return values * 100 if values.max() <= 1 else values.copy()


def _flat_within_residues(model: gemmi.Model, atoms: _Atoms) -> bool:
    """Tell whether every residue has one temperature factor, and not all the same one.

    So it is in a prediction without a header, and not after a refinement.
    """
    sizes = np.array([len(residue) for chain in model for residue in chain], np.int64)
    sizes = sizes[sizes > 0]
    if len(sizes) < _ENOUGH or (sizes > 1).mean() < 0.9:
        return False
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    low, high = np.minimum.reduceat(atoms.b, starts), np.maximum.reduceat(atoms.b, starts)
    return bool((low == high).all() and low.min() >= 0 and low.max() <= 100 and np.ptp(low) > 0)


_ENOUGH = 10

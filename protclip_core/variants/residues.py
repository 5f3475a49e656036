"""Names of residues in one and in three letters."""

from __future__ import annotations

__all__ = [
    "LETTERS",
    "NUM_STANDARD",
    "SEVERAL",
    "STOP",
    "THREE_LETTERS",
    "one_letter",
    "three_letters",
]

#: The letter of a stop, in a change and in a mutated sequence.
STOP = "*"

#: One letter to three, as IUPAC and HGVS write them; X is left out, see `grammar`.
THREE_LETTERS: dict[str, str] = {
    "A": "Ala", "R": "Arg", "N": "Asn", "D": "Asp", "C": "Cys", "Q": "Gln", "E": "Glu",
    "G": "Gly", "H": "His", "I": "Ile", "L": "Leu", "K": "Lys", "M": "Met", "F": "Phe",
    "P": "Pro", "S": "Ser", "T": "Thr", "W": "Trp", "Y": "Tyr", "V": "Val",
    "U": "Sec", "O": "Pyl", "B": "Asx", "Z": "Glx", "J": "Xle", STOP: "Ter",
}  # fmt: skip

#: Letters whose probabilities are told: the 20 residues, then those with a token of their own.
LETTERS = "ACDEFGHIKLMNPQRSTVWYXBUZO"


NUM_STANDARD = 20

#: Letters that stand for one of several residues, and which.
SEVERAL: dict[str, str] = {"B": "D or N", "Z": "E or Q", "J": "I or L", "X": "any residue"}

_ONE = {name.lower(): letter for letter, name in THREE_LETTERS.items()} | {"stop": STOP}


def one_letter(name: str) -> str:
    """Letter of a residue named in one or three letters, of any case; empty for any other.

    Examples
    --------
    >>> one_letter("ala"), one_letter("Ter"), one_letter("k"), one_letter("Xaa")
    ('A', '*', 'K', '')
    """
    if len(name) == 1:
        letter = name.upper()
        return letter if letter in THREE_LETTERS else ""
    return _ONE.get(name.lower(), "")


def three_letters(letters: str) -> str:
    """Residues in three letters each.

    Examples
    --------
    >>> three_letters("RS*")
    'ArgSerTer'
    """
    return "".join(THREE_LETTERS[letter] for letter in letters)

"""The shape of a k-mer encoder as plain data, and its reduced alphabets. No torch here.

A table is written ``"PATTERN:ALPHABET:DIM"`` or ``"PATTERN:ALPHABET:DIM:ROWS"``, for example
``"11001:20:64"``. The pattern has a 1 for each residue that counts and a 0 for each that does
not; a single digit ``k`` stands for ``k`` neighbours. The alphabet is one of `ALPHABETS`, or its
groups, separated by blanks. Without ``ROWS`` every k-mer has a row of its own; with it k-mers are
hashed to that many rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

__all__ = ["ALPHABETS", "SPECIAL_ROWS", "KmerConfig", "KmerTable", "KmerWindow", "token_groups"]

RESIDUES = "LAGVSERTIDPKQNFYMHWC"
#: Partitions of the 20 residues; the order of the groups is part of the format.
ALPHABETS: dict[str, str] = {
    "20": " ".join(RESIDUES),
    "12": "LIVM A G ST ED P KR QN FY W H C",
    "11": "LIVM A G ST ED P KRQ N FYW H C",
    "10": "LIVM AG ST ED P KR QN FYW H C",
    "8": "LIVMC AG ST EDQN P KR FYW H",
    "6": "LIVMFYWC AG ST EDQN P KRH",
    "5": "LIVMC FYW AGPST EDQN KRH",
    "4": "LIVMFYWC AGPST EDQN KRH",
}
#: Residues that a rare letter is read as, if they share a group.
_READ_AS = {"U": "C", "O": "K", "B": "DN", "Z": "EQ"}
#: Rows behind the k-mers', the first that applies: the window reaches beyond the protein, holds
#: a masked residue, or holds a letter or token without a group (X, for one).
SPECIAL_ROWS = ("edge", "mask", "unknown")
#: Codes are 64-bit integers, also times the factor of the hash.
_MOST_KMERS = 2**62
HASH_MODULUS, HASH_FACTOR, HASH_SHIFT = 2**31 - 1, 2654435761, 7


@dataclass(frozen=True, kw_only=True)
class KmerTable:
    """One table of k-mer vectors; see the module's text for pattern and alphabet."""

    pattern: str
    alphabet: str
    dim: int
    #: Rows that k-mers are hashed to; ``None``: a row for each.
    rows: int | None = None

    def __post_init__(self) -> None:
        pattern = self.pattern
        if not isinstance(pattern, str) or not pattern or set(pattern) - set("01"):
            raise ValueError(f"pattern {pattern!r} is not made of 0 and 1")
        if pattern[0] != "1" or pattern[-1] != "1":
            raise ValueError(f"pattern {pattern!r} does not begin and end with 1")
        _whole(self.dim, "dim of a table")
        letters = [letter for group in self.groups for letter in group]
        if sorted(letters) != sorted(RESIDUES):
            raise ValueError(f"alphabet {self.alphabet!r} is no partition of the 20 residues")
        if self.num_kmers > _MOST_KMERS:
            raise ValueError(f"pattern {pattern!r} has too many k-mers")
        if self.rows is not None:
            _whole(self.rows, "rows of a table")
            if self.rows >= self.num_kmers:
                raise ValueError(f"{self.rows} rows are enough for all {self.num_kmers} k-mers")

    @classmethod
    def parse(cls, text: str) -> KmerTable:
        """Read the short form.

        Examples
        --------
        >>> KmerTable.parse("3:6:64").pattern, KmerTable.parse("11001:20:64:999").rows
        ('111', 999)
        """
        parts = text.split(":")
        if len(parts) not in (3, 4) or not all(part.isdecimal() for part in parts[2:]):
            raise ValueError(f"table {text!r} is not written as PATTERN:ALPHABET:DIM[:ROWS]")
        pattern = parts[0]
        if len(pattern) == 1 and pattern in "123456789":
            pattern = "1" * int(pattern)
        rows = int(parts[3]) if len(parts) == 4 else None
        return cls(pattern=pattern, alphabet=parts[1], dim=int(parts[2]), rows=rows)

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups of the reduced alphabet."""
        if not isinstance(self.alphabet, str):
            raise ValueError(f"alphabet {self.alphabet!r} is no text")  # noqa: TRY004
        return tuple(ALPHABETS.get(self.alphabet, self.alphabet).split())

    @property
    def offsets(self) -> tuple[int, ...]:
        """Places that count, seen from the residue in the middle (left of it if even)."""
        middle = (len(self.pattern) - 1) // 2
        return tuple(i - middle for i, letter in enumerate(self.pattern) if letter == "1")

    @property
    def num_kmers(self) -> int:
        """Different k-mers."""
        return int(len(self.groups) ** len(self.offsets))

    @property
    def num_rows(self) -> int:
        """Rows of k-mers; `SPECIAL_ROWS` come behind them."""
        return self.rows or self.num_kmers


@dataclass(frozen=True, kw_only=True)
class KmerWindow:
    """A window of residue vectors through one learned map: the smooth form of a k-mer.

    A window of even width reaches one residue further to the left.
    """

    width: int
    dim: int
    #: ``"cos"`` (random Fourier features to start with) or ``"gelu"``.
    activation: str = "cos"

    def __post_init__(self) -> None:
        _whole(self.width, "width of a window")
        _whole(self.dim, "dim of a window")
        if self.activation not in ("cos", "gelu"):
            raise ValueError(f"activation {self.activation!r} is not known; use cos or gelu")


@dataclass(frozen=True, kw_only=True)
class KmerConfig:
    """Shape of a k-mer encoder.

    Attributes
    ----------
    tables, windows
        The inputs; at least one.
    hidden_dim
        Width ``D`` of a token vector.
    residue_dim
        Width of the fixed residue vectors that windows look at, at most 20.
    combine
        ``"concat"``: inputs side by side; ``"sum"``: added, all of one width.
    projection
        Whether a linear map leads from the inputs to the width of the blocks; without one the
        widths must be the same.
    keep_input
        Whether a token vector is the input and, behind it, what the blocks made of it, else the
        latter alone. The blocks are then ``hidden_dim - input_dim`` wide.
    gate
        Whether each row of a table has a learned weight, scaled to mean 1 over the residues of
        a protein, so that the mean vector is a weighted mean. Token vectors then depend on the
        whole protein, through one number for each table.
    table_dropout
        Share of (token, table) pairs that training leaves out.
    num_layers, kernel, dilations, expansion
        Convolution blocks; ``dilations`` are gone through again and again; the inner width is
        ``expansion`` times that of the blocks, rounded.
    block
        ``"bottleneck"``: norm, GELU, 1x1, norm, GELU, dilated, norm, GELU, 1x1 (ByteNet, CARP);
        ``"plain"``: norm, GELU, dilated, GELU, 1x1. Either is added to what came in.
    final_norm
        Whether the last layer has a LayerNorm behind it. Without it the mean over the residues
        stays a mean of table rows.
    max_residues
        Residues of one window; no position is learned, so longer ones work as well.
    """

    tables: tuple[KmerTable, ...]
    hidden_dim: int
    windows: tuple[KmerWindow, ...] = ()
    residue_dim: int = 8
    combine: str = "concat"
    projection: bool = True
    keep_input: bool = False
    gate: bool = False
    table_dropout: float = 0.0
    num_layers: int = 0
    kernel: int = 5
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    expansion: float = 1.0
    block: str = "bottleneck"
    final_norm: bool = True
    layer_norm_eps: float = 1e-5
    max_residues: int = 4096

    def __post_init__(self) -> None:
        for name in ("hidden_dim", "residue_dim", "kernel", "max_residues"):
            _whole(getattr(self, name), name)
        _whole(self.num_layers, "num_layers", least=0)
        for name in ("projection", "keep_input", "gate", "final_norm"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}, not true or false")  # noqa: TRY004
        for dilation in self.dilations:
            _whole(dilation, "a dilation")
        for name, choices in (("combine", ("concat", "sum")), ("block", ("bottleneck", "plain"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}, not {' or '.join(choices)}")
        for name, value, most in (
            ("table_dropout", self.table_dropout, 1),
            ("layer_norm_eps", self.layer_norm_eps, 1),
            ("expansion", self.expansion, 100),
        ):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"{name} is {value!r}, not a number")  # noqa: TRY004
            if not 0 <= value < most:
                raise ValueError(f"{name} is {value!r}, not from 0 to less than {most}")
        self._check_widths()

    def _check_widths(self) -> None:
        widths = self._input_widths()
        if not widths:
            raise ValueError("there are neither tables nor windows")
        if self.combine == "sum" and len(set(widths)) > 1:
            raise ValueError(f"inputs of widths {widths} cannot be added")
        if self.stream_dim < 1:
            room = f"hidden_dim {self.hidden_dim} has no room behind"
            raise ValueError(f"{room} an input of {self.input_dim}")
        if not self.projection and self.input_dim != self.stream_dim:
            raise ValueError(
                f"inputs are {self.input_dim} wide, not {self.stream_dim} as the blocks, "
                "and there is no projection"
            )
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel is {self.kernel}, not odd")
        if self.num_layers and (not self.dilations or self.inner_dim < 1):
            raise ValueError("layers need dilations and an inner width of at least 1")
        if self.residue_dim > len(RESIDUES):
            raise ValueError(f"residue_dim is {self.residue_dim}, more than {len(RESIDUES)}")

    def _input_widths(self) -> list[int]:
        return [table.dim for table in self.tables] + [window.dim for window in self.windows]

    @property
    def input_dim(self) -> int:
        """Width of the inputs together."""
        widths = self._input_widths()
        return widths[0] if self.combine == "sum" else sum(widths)

    @property
    def stream_dim(self) -> int:
        """Width of what the blocks work on."""
        return self.hidden_dim - self.input_dim if self.keep_input else self.hidden_dim

    @property
    def inner_dim(self) -> int:
        """Inner width of a block."""
        return round(self.expansion * self.stream_dim)

    def dilation(self, layer: int) -> int:
        """Dilation of a block, counted from 0."""
        return self.dilations[layer % len(self.dilations)]

    @property
    def reach(self) -> int:
        """Residues to each side that a token vector depends on, gates aside."""
        inputs = [max(-table.offsets[0], table.offsets[-1]) for table in self.tables]
        inputs += [window.width // 2 for window in self.windows]
        blocks = sum(self.dilation(i) for i in range(self.num_layers))
        return max(inputs) + self.kernel // 2 * blocks

    @property
    def num_weights(self) -> int:
        """Numbers in tables and matrices; norms, biases and masked-LM head are left out."""
        rows = sum((t.num_rows + len(SPECIAL_ROWS)) * (t.dim + self.gate) for t in self.tables)
        return rows + self._products()

    @property
    def token_width(self) -> int:
        """Numbers that one token needs at a time, about."""
        return 2 * self.input_dim + 4 * self.hidden_dim + 6 * self.inner_dim

    def flops(self, num_tokens: int) -> int:
        """Floating-point operations of one forward pass, as `Esm2Config.flops` counts them."""
        return 2 * num_tokens * self._products()

    def _products(self) -> int:
        """Weights that each token is multiplied with."""
        dim, inner = self.stream_dim, self.inner_dim
        if self.block == "plain":
            layer = self.kernel * dim * inner + inner * dim
        else:
            layer = 2 * dim * inner + self.kernel * inner * inner
        windows = sum(w.width * w.dim * self.residue_dim for w in self.windows)
        return self.num_layers * layer + windows + self.projection * self.input_dim * dim

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data for ``config.json``."""
        plain = asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KmerConfig:
        """Read what `to_dict` gave, or a recipe, in which tables may be in short form.

        Raises
        ------
        ValueError
            A field that is missing, unknown or of no use, by name.
        """
        plain = {k: v for k, v in values.items() if k not in ("type", "lm_head")}
        _known(plain, cls, "protein_encoder")
        for name in ("tables", "windows", "dilations"):
            if not isinstance(plain.get(name, []), (list, tuple)):
                raise ValueError(f"{name} is {plain[name]!r}, not a list")
        plain["tables"] = tuple(
            KmerTable.parse(entry) if isinstance(entry, str) else _part(entry, KmerTable)
            for entry in plain.get("tables", ())
        )
        plain["windows"] = tuple(_part(entry, KmerWindow) for entry in plain.get("windows", ()))
        if "dilations" in plain:
            plain["dilations"] = tuple(plain["dilations"])
        if "hidden_dim" not in plain:
            raise ValueError("does not say 'protein_encoder.hidden_dim'")
        return cls(**plain)


def token_groups(table: KmerTable) -> list[int]:
    """Group of each of the 33 tokens in a table's alphabet; those without one get its size.

    U is C, O is K; B (D or N) and Z (E or Q) have a group where both residues share one.
    """
    # Here, because it brings numpy, which is not needed to say what a model is.
    from protclip_core.encoders.alphabet import TOKENS

    group_of = {letter: i for i, group in enumerate(table.groups) for letter in group}
    found = []
    for token in TOKENS:
        groups = {group_of.get(letter) for letter in _READ_AS.get(token, token)}
        only = groups.pop() if len(groups) == 1 else None
        found.append(len(table.groups) if only is None else only)
    return found


def _part(entry: Any, kind: Any) -> Any:  # noqa: ANN401
    if not isinstance(entry, Mapping):
        raise ValueError(f"{entry!r} describes no {kind.__name__}")  # noqa: TRY004
    _known(entry, kind, kind.__name__)
    try:
        return kind(**entry)
    except TypeError as error:  # the field that is missing
        raise ValueError(f"{entry!r} does not describe a {kind.__name__}") from error


def _known(values: Mapping[str, Any], kind: Any, where: str) -> None:  # noqa: ANN401
    unknown = sorted(set(values) - {field.name for field in fields(kind)})
    if unknown:
        raise ValueError(f"{where} has unknown {', '.join(map(repr, unknown[:3]))}")


def _whole(value: object, name: str, *, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}, not a whole number of at least {least}")

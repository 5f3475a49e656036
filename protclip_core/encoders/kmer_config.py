"""The shape of a k-mer encoder as plain data, and its reduced alphabets. No torch here.

A table is written ``"PATTERN:ALPHABET:DIM"`` or ``"PATTERN:ALPHABET:DIM:ROWS"``, for example
``"11001:20:64"``. The pattern has a 1 for each residue that counts and a 0 for each that does
not; a single digit ``k`` stands for ``k`` neighbours. The alphabet is one of `ALPHABETS`, or its
groups, separated by blanks. Without ``ROWS`` every k-mer has a row of its own; with it k-mers are
hashed to that many rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta, Struct, field
from msgspec.structs import force_setattr

from protclip_core.io.json_fields import problem_of

__all__ = ["ALPHABETS", "SPECIAL_ROWS", "KmerConfig", "KmerTable", "KmerWindow", "token_groups"]

#: Far above every model there is, and low enough that nothing is built for hours before the
#: tensors are seen not to fit.
Layers = Annotated[int, Meta(ge=1, le=1_000)]
Width = Annotated[int, Meta(ge=1, le=100_000)]
Share = Annotated[float, Meta(ge=0, lt=1)]

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


class KmerTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of k-mer vectors; see the module's text for pattern and alphabet."""

    pattern: Annotated[str, Meta(pattern=r"\A1([01]*1)?\Z")]
    alphabet: str
    dim: Width
    #: Rows that k-mers are hashed to; ``None``: a row for each.
    rows: Annotated[int, Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
        letters = [letter for group in self.groups for letter in group]
        if sorted(letters) != sorted(RESIDUES):
            raise ValueError(f"alphabet {self.alphabet!r} is not a partition of the 20 residues")
        if self.num_kmers > _MOST_KMERS:
            raise ValueError(f"pattern {self.pattern!r} has too many k-mers")
        if self.rows is not None and self.rows >= self.num_kmers:
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
        plain = {"pattern": pattern, "alphabet": parts[1], "dim": int(parts[2])}
        if len(parts) == 4:
            plain["rows"] = int(parts[3])
        try:
            return msgspec.convert(plain, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"table {text!r}: {problem_of(error, plain)}") from None

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups of the reduced alphabet."""
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


class KmerWindow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A window of residue vectors through one learned map: the smooth form of a k-mer.

    A window of even width reaches one residue further to the left.
    """

    width: Annotated[int, Meta(ge=1)]
    dim: Width
    #: ``"cos"`` (random Fourier features to start with) or ``"gelu"``.
    activation: Literal["cos", "gelu"] = "cos"


class KmerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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

    written_tables: tuple[KmerTable | str, ...] = field(name="tables", default=())
    hidden_dim: Width
    windows: tuple[KmerWindow, ...] = ()
    residue_dim: Annotated[int, Meta(ge=1, le=20)] = 8
    combine: Literal["concat", "sum"] = "concat"
    projection: bool = True
    keep_input: bool = False
    gate: bool = False
    table_dropout: Share = 0.0
    num_layers: Annotated[int, Meta(ge=0, le=1_000)] = 0
    kernel: Width = 5
    dilations: tuple[Annotated[int, Meta(ge=1)], ...] = (1, 2, 4, 8)
    expansion: Annotated[float, Meta(ge=0, lt=100)] = 1.0
    block: Literal["bottleneck", "plain"] = "bottleneck"
    final_norm: bool = True
    layer_norm_eps: Share = 1e-5
    max_residues: Annotated[int, Meta(ge=1, le=10_000_000)] = 4096

    def __post_init__(self) -> None:
        written = self.written_tables
        tables = (KmerTable.parse(one) if isinstance(one, str) else one for one in written)
        force_setattr(self, "written_tables", tuple(tables))
        self._check_widths()

    @property
    def tables(self) -> tuple[KmerTable, ...]:
        """The tables; those in short form have been read."""
        return cast(tuple[KmerTable, ...], self.written_tables)

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

    def can_read(self, sequence: str) -> bool:
        """Tell whether a sequence holds a k-mer of one of the tables, or residues for a window.

        Of others the encoder knows the length alone.

        Examples
        --------
        >>> from protclip_core.encoders.kmer_config import KmerConfig
        >>> config = KmerConfig.from_dict({"tables": ["11001:20:64"], "hidden_dim": 64})
        >>> config.can_read("MKXXA"), config.can_read("MKXA"), config.can_read("XMKTX")
        (True, False, False)
        """
        if self.windows:
            return bool(sequence.strip("X"))
        return _kmers(self.tables).search(sequence) is not None

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
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return {name: v for name, v in plain.items() if name not in ("type", "lm_head")}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KmerConfig:
        """Read what `to_dict` gave, or a recipe, in which tables may be in short form.

        Raises
        ------
        ValueError
            A field that is missing, unknown or of no use, by name.
        """
        plain = {k: v for k, v in values.items() if k not in ("type", "lm_head")}
        try:
            return msgspec.convert(plain, KmerConfig)
        except msgspec.ValidationError as error:
            raise ValueError(problem_of(error, plain)) from None


@lru_cache(maxsize=16)
def _kmers(tables: tuple[KmerTable, ...]) -> re.Pattern[str]:
    """Return what finds a k-mer that has a row of its own in one of the tables."""
    found = []
    for table in tables:
        letters = RESIDUES + "".join(
            letter
            for letter, same in _READ_AS.items()
            if any(set(same) <= set(group) for group in table.groups)
        )
        found.append("".join(f"[{letters}]" if mark == "1" else "." for mark in table.pattern))
    return re.compile("|".join(sorted(set(found))))


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

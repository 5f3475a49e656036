"""Whether sequences or structures are embedded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from protclip_core.errors import InputError, UsageError
from protclip_core.io.streams import peek_input, source_name
from protclip_core.io.structures import holds_structures
from protclip_core.io.structures.formats import named_as_structure
from protclip_core.models.info import ModelInfo
from protclip_core.models.settings import EmbedSettings
from protclip_core.vector_spec import STRUCTURE
from protclip_core.vectors.embed_request import EmbedRequest

__all__ = ["choose_modality", "structure_settings"]


def choose_modality(
    inputs: Sequence[str], wanted: str, info: ModelInfo, chains: Collection[str] = ()
) -> tuple[Literal["sequence", "structure"], frozenset[str]]:
    """Choose what is embedded, by a look at the first bytes of each input.

    Parameters
    ----------
    inputs
        Files, folders of structures, tars or ``-``.
    wanted
        ``"sequence"``, ``"structure"``, or ``"auto"``: structures where the input has them.
    info
        The model.
    chains
        Chains of structure files that the user chose.

    Returns
    -------
    modality : str
        ``"sequence"`` or ``"structure"``.
    structures : frozenset of str
        Those inputs that hold structures.

    Raises
    ------
    UsageError
        The model does not take structures; structures are wanted of FASTA files; sequences and
        structures are given together; ``chains`` of FASTA files.
    """
    if wanted not in ("auto", "sequence", STRUCTURE):
        raise UsageError(
            f"modality {wanted!r} is not known",
            code="usage.unknown_value",
            hint="use sequence, structure or auto",
        )
    structures = _structures_among(inputs, wanted)
    other = next((path for path in inputs if path not in structures), None)
    if chains and not structures:
        raise UsageError(
            "--chain is for structure files",
            code="usage.conflicting_options",
            where=source_name(inputs[0]),
            hint="drop it",
        )
    if wanted == "sequence" or (wanted == "auto" and not structures):
        return "sequence", structures
    if other is not None and not structures:
        raise UsageError(
            "is not a structure, as --modality structure needs it",
            code="usage.no_structures",
            where=source_name(other),
            hint="give PDB, mmCIF or BinaryCIF, or drop --modality",
        )
    if info.structure_encoder is None:
        raise UsageError(
            f"model {info.name} takes no structures",
            code="usage.no_structure_encoder",
            hint="embed the sequences of the chains (protclip embed --modality sequence), or "
            "choose a model with a structure encoder",
        )
    if other is not None:
        raise UsageError(
            "is not a structure, and there are structures among the inputs",
            code="usage.mixed_modalities",
            where=source_name(other),
            hint="embed them apart, or all of them with --modality sequence",
        )
    return "structure", structures


def _structures_among(inputs: Sequence[str], wanted: str) -> frozenset[str]:
    """Return the inputs that are for the reader of structures.

    Those are also files that are neither, such as empty ones, where structures are expected: the
    reader names each of them and goes on.
    """
    found = {path for path in inputs if holds_structures(path)}
    expected = bool(found) or wanted == STRUCTURE
    for path in inputs:
        if path not in found and (expected or named_as_structure(path)):
            try:
                start = peek_input(path, 512).lstrip(b"\xef\xbb\xbf \t\r\n")
            except InputError as error:
                if not expected and error.code == "input.no_such_file":
                    continue
                start = b""
            if not start.startswith((b">", b";")):
                found.add(path)
    return frozenset(found)


def structure_settings(request: EmbedRequest) -> EmbedSettings:
    """Return the settings of structures, and refuse options that they do not have.

    Raises
    ------
    UsageError
        An option of sequences, or an unknown space.
    """
    for given, name in (
        (request.per_residue, "--per-residue"),
        (request.pooling is not None, "--pooling"),
        (request.layer is not None, "--layer"),
        (request.max_residues is not None, "--max-length"),
        (request.long != "window", "--long"),
        (request.dtype != "float32", "--dtype"),
    ):
        if given:
            raise UsageError(
                f"{name} is for sequences, and structures are embedded",
                code="usage.conflicting_options",
                hint=f"drop {name}, or give --modality sequence",
            )
    if request.space not in (None, "encoder", "joint"):
        raise UsageError(
            f"space {request.space!r} is not known",
            code="usage.unknown_value",
            hint="use encoder or joint",
        )
    # The joint space is what a structure encoder is for. Chains are never cut.
    return EmbedSettings(
        pooling="residues",
        space=request.space or "joint",
        layer=0,
        max_residues=_ANY_LENGTH,
        overlap=0,
    )


_ANY_LENGTH = 1 << 40

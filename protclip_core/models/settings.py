"""Settings of an embedding (pooling, space, layer, windows), checked against the model."""

from __future__ import annotations

from dataclasses import dataclass

from protclip_core.errors import UsageError
from protclip_core.models.info import ModelInfo

__all__ = ["DEFAULT_OVERLAP", "DEFAULT_WINDOW", "EmbedSettings", "resolve_settings"]

#: Residues of one window and of the overlap of neighbours. 1,022 is what ESM-2 was trained on;
#: a quarter of it on either side gives every residue a context of at least 127 residues.
DEFAULT_WINDOW = 1022
DEFAULT_OVERLAP = 254


@dataclass(frozen=True, kw_only=True)
class EmbedSettings:
    """Settings that change the numbers; two stores with equal settings may be mixed.

    Attributes
    ----------
    pooling
        ``"residues"`` or ``"tokens"`` (BOS and EOS counted).
    space
        ``"encoder"`` or ``"joint"``.
    layer
        0 (input vectors) to the number of layers.
    per_residue
        Whether residue vectors are kept.
    max_residues, overlap
        Width of a window and of the overlap of neighbouring windows, in residues.
    """

    pooling: str
    space: str
    layer: int
    per_residue: bool = False
    max_residues: int = DEFAULT_WINDOW
    overlap: int = DEFAULT_OVERLAP


def resolve_settings(
    info: ModelInfo,
    num_layers: int,
    *,
    pooling: str | None = None,
    space: str = "encoder",
    layer: int | None = None,
    per_residue: bool = False,
    max_residues: int | None = None,
) -> EmbedSettings:
    """Fill in the model's defaults and refuse what it cannot do.

    Raises
    ------
    UsageError
        Unknown words, a layer out of range, the joint space of a protein-only model, or a
        layer other than the last in the joint space.
    """
    if pooling not in (None, "residues", "tokens"):
        raise UsageError(
            f"pooling {pooling!r} is not known",
            code="usage.unknown_value",
            hint="use residues or tokens",
        )
    if space not in ("encoder", "joint"):
        raise UsageError(
            f"space {space!r} is not known", code="usage.unknown_value", hint="use encoder or joint"
        )
    if space == "joint" and info.joint_dim is None:
        raise UsageError(
            f"model {info.name} has no joint space",
            code="usage.no_joint_space",
            hint="use --space encoder or a ProtCLIP model",
        )
    # Negative numbers count from the last layer, as in esm-extract.
    chosen = num_layers if layer is None else layer + (num_layers + 1 if layer < 0 else 0)
    if not 0 <= chosen <= num_layers:
        raise UsageError(
            f"layer {layer} is out of range",
            code="usage.bad_value",
            hint=f"the model has 0 to {num_layers}",
        )
    if space == "joint" and chosen != num_layers:
        raise UsageError(
            f"the joint space belongs to layer {num_layers}",
            code="usage.conflicting_options",
            hint="drop --layer",
        )
    window = info.max_residues or DEFAULT_WINDOW
    if max_residues is not None:
        if max_residues < 16:
            raise UsageError(
                f"windows of {max_residues} residues are too short",
                code="usage.bad_value",
                hint="16 or more",
            )
        window = max_residues
    return EmbedSettings(
        pooling=pooling or info.pooling,
        space=space,
        layer=chosen,
        per_residue=per_residue,
        max_residues=window,
        overlap=min(DEFAULT_OVERLAP, window // 4),
    )

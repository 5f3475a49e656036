"""Give a bundle the structure tower of a run that learned the bundle's joint space.

    python -m train.release.structure --run-dir runs/structure-mini --base protclip-mini \
        --out protclip-mini-structures [--card MODEL_CARD.md]

What the base has stays as it is, byte by byte: what was embedded, fitted or indexed with it goes on
working. The run must have kept sequence and text side of the base frozen.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from protclip_core.errors import ModelError, UsageError
from protclip_core.models.info import describe_model
from protclip_core.weights.attach import attach_structure
from protclip_core.weights.bundle import Bundle
from train.config.run import load_saved_config
from train.loop import checkpoint
from train.loop.terminal import guarded, start_program
from train.towers.structure_tower import projection_form, structure_shape
from train.towers.two_towers import structure_fields

__all__ = ["attach_run", "main"]

_FIXED = ("protein_projection.", "text_projection.", "text_encoder.", "protein_encoder.")


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, write the bundle, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m train.release.structure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--run-dir", required=True, type=Path, help="directory of the run")
    parser.add_argument("--base", required=True, help="bundle whose joint space was learned")
    parser.add_argument("--out", required=True, type=Path, help="directory of the bundle")
    parser.add_argument("--card", type=Path, help="MODEL_CARD.md to put in")
    args = parser.parse_args(argv)
    start_program(threads=1)

    def work() -> None:
        found = attach_run(args.run_dir, args.base, args.out, args.card)
        print(f"{found.path}: structure tower of {found.structure_sha256}")

    return guarded(work, kept="nothing is kept")


def attach_run(run_dir: Path, base: str, out: Path, card: Path | None = None) -> Bundle:
    """Write the bundle from the newest whole checkpoint of a run.

    Raises
    ------
    ModelError
        No checkpoint, or the run moved other towers than that of structures: then its vectors are
        not in the joint space of the base.
    UsageError
        The run has no structure encoder, or the base is no bundle.
    """
    config = load_saved_config(run_dir / "config.json")
    info = describe_model(base)
    if config.structure is None or not config.objectives.on_structures:
        raise UsageError("has no structure encoder", code="usage.not_a_run", where=str(run_dir))
    if info.bundle is None:
        raise UsageError(
            "is no bundle", code="usage.no_protein_encoder", where=base, hint="give a bundle"
        )
    newest = checkpoint.find(run_dir)
    tensors = checkpoint.read_tensors(newest / "model.safetensors")
    towers = {
        name.removeprefix("towers."): value
        for name, value in tensors.items()
        if name.startswith("towers.")
    }
    for name, value in info.bundle.tensors().items():
        own = towers.get(name)
        if name.startswith(_FIXED) and own is not None and not torch.equal(own, value.float()):
            raise ModelError(
                f"its {name} is not that of {info.name}",
                code="model.other_settings",
                where=str(newest),
                hint="train with the encoders and projections of the base frozen",
            )
    kept = ("structure_encoder.", "structure_projection.")
    found = {name: value for name, value in towers.items() if name.startswith(kept)}
    files = {} if card is None else {"MODEL_CARD.md": card.read_bytes()}
    return attach_structure(
        info.bundle,
        out,
        structure_fields(
            structure_shape(config.structure).to_dict(), projection_form(config.structure)
        ),
        found,
        files,
    )


if __name__ == "__main__":
    sys.exit(main())

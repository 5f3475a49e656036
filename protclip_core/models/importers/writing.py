"""From a converted checkpoint to a bundle on disk, which appears whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from protclip_core._version import __version__
from protclip_core.errors import UsageError
from protclip_core.io.atomic import disk_error, fsync_folder, require_space
from protclip_core.models.importers.converted import Converted
from protclip_core.weights.bundle import (
    CONFIG,
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    Bundle,
    open_bundle,
    sha256_of,
    write_bundle,
)

__all__ = ["copy_bundle", "new_folder", "write_converted"]

CARD = "MODEL_CARD.md"
_POOLING = {
    "tokens": "mean over all tokens of a protein, the special ones at both ends counted",
    "residues": "mean over the residues of a protein, without the special tokens at both ends",
}


def write_converted(
    converted: Converted, target: Path, *, name: str, origin: str, license: str | None
) -> Bundle:
    """Write the bundle, with its model card and manifest.

    Raises
    ------
    ResourceError
        The disk is full; nothing is left behind.
    UsageError
        ``target`` is there or cannot be written.
    """
    hashes = {path.name: sha256_of(path) for path in converted.sources}
    config = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": name,
        "license": license,
        "source": {"kind": converted.source_kind, "origin": origin, "files": hashes},
        **converted.config,
    }
    card = _model_card(converted, config)
    needed = sum(t.numel() * t.element_size() for t in converted.tensors.values())
    with new_folder(target) as folder:
        require_space(target, needed)
        _write(folder, config, converted.tensors, {**converted.files, CARD: card.encode()}, target)
    return open_bundle(target)


def _write(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Any],
    files: Mapping[str, bytes],
    target: Path,
) -> None:
    from safetensors import SafetensorError

    try:
        write_bundle(folder, config, tensors, files, half=False)
    except SafetensorError as error:
        # The library tells of the operating system's error in words only.
        found = re.search(r"os error (\d+)", str(error))
        number = int(found.group(1)) if found else errno.EIO
        raise disk_error(OSError(number, os.strerror(number)), target) from error


def copy_bundle(source: Bundle, target: Path, *, name: str, origin: str) -> Bundle:
    """Copy a bundle of our own, each file compared with its hash on the way.

    Parameters
    ----------
    source
        Opened bundle.
    target, name
        Where to, and the name that the copy is to have.
    origin
        Where the bundle came from; what it says of its own origin is kept under ``of``.

    Raises
    ------
    ModelError
        A file is missing or differs from its hash.
    ResourceError, UsageError
        As `write_converted`.
    """
    source.verify()
    needed = sum((source.path / file).stat().st_size for file in source.files)
    with new_folder(target) as folder:
        require_space(target, needed)
        for file in source.files:
            shutil.copyfile(source.path / file, folder / file)
        shutil.copyfile(source.path / MANIFEST, folder / MANIFEST)
        copy = open_bundle(folder)
        copy.verify()
        stated = {"of": copy.config["source"]} if copy.config.get("source") else {}
        source_entry = {"kind": "protclip-bundle", "origin": origin, **stated}
        _rewrite_config(copy, {"name": name, "source": source_entry})
    return open_bundle(target)


def _rewrite_config(bundle: Bundle, changes: Mapping[str, Any]) -> None:
    """Write other values into the configuration of a bundle that nobody reads yet."""
    path = bundle.path / CONFIG
    path.write_bytes(_json({**bundle.config, **changes}))
    manifest = json.loads((bundle.path / MANIFEST).read_bytes())
    manifest["files"][CONFIG] = {"sha256": sha256_of(path), "bytes": path.stat().st_size}
    (bundle.path / MANIFEST).write_bytes(_json(manifest))


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes ``target`` when the block ends without an error.

    A process that is killed leaves ``.NAME.<hex>.tmp`` next to it, which the next one removes.

    Raises
    ------
    UsageError
        ``target`` is there, or its folder cannot be written.
    ResourceError
        No room, in the block or at its end.
    """
    if os.path.lexists(target):
        raise UsageError(
            "already exists",
            code="usage.output_exists",
            where=str(target),
            hint="choose another name",
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target)
        temp = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
        temp.mkdir()
    except OSError as error:
        raise disk_error(error, target) from error
    # The kernel frees this lock when its holder dies: so a folder of the dead is known.
    held = os.open(temp, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield temp
        for path in temp.iterdir():
            _fsync(path)
        fsync_folder(temp)
        temp.rename(target)
        fsync_folder(target.parent)
    except OSError as error:
        raise disk_error(error, target) from error
    finally:
        os.close(held)
        shutil.rmtree(temp, ignore_errors=True)


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove_stale(target: Path) -> None:
    """Remove folders that killed processes left; those of living ones are locked."""
    pattern = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{16}\.tmp")
    for entry in target.parent.iterdir():
        if not pattern.fullmatch(entry.name):
            continue
        with suppress(OSError):
            fd = os.open(entry, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(entry, ignore_errors=True)
            finally:
                os.close(fd)


def _model_card(converted: Converted, config: Mapping[str, Any]) -> str:
    """Say what the model is, where it came from and what was done to it."""
    source = config["source"]
    what = f"{converted.kind}, imported by protclip {__version__}"
    lines = [
        f"# {config['name']}",
        "",
        f"{what}. The weights are those of the source, in its types; only names were changed.",
        "",
        f"- Origin: {source['origin']}",
        f"- Licence: {config['license'] or 'not stated; see the publisher'}",
        *_contents(config),
        "",
        "## Source files (sha256)",
        "",
        *(f"- `{name}`: {digest}" for name, digest in sorted(source["files"].items())),
        "",
        "## Left out",
        "",
        *_left_out(converted.left_out),
    ]
    if converted.notes:
        lines += ["", "## Notes", "", *(f"- The model {note}." for note in converted.notes)]
    lines += ["", "## Please cite", "", *(f"- {paper}" for paper in converted.citations)]
    return "\n".join(lines) + "\n"


def _contents(config: Mapping[str, Any]) -> Iterator[str]:
    protein, text = config.get("protein_encoder"), config.get("text_encoder")
    if protein:
        yield f"- Protein encoder: type {protein['type']}"
        yield f"- Pooling of proteins: {_POOLING[config['pooling']]}; never padding"
    if text:
        layers, width = text["num_hidden_layers"], text["hidden_size"]
        yield f"- Text encoder: type {text['type']}, {layers} layers of width {width}"
        yield "- Pooling of texts: mean over all tokens, special ones counted; never padding"
    if config.get("projection_dim"):
        yield f"- Joint space: {config['projection_dim']} dimensions"
    heads = [name for name, there in (config.get("residue_heads") or {}).items() if there]
    if heads:
        yield f"- Heads on residues: {', '.join(heads)}"


def _left_out(left_out: Mapping[str, Sequence[str]]) -> Iterator[str]:
    if not left_out:
        yield "Nothing."
    for reason, names in left_out.items():
        shown = ", ".join(f"`{name}`" for name in names[:3]) + (", …" if len(names) > 3 else "")
        yield f"- {len(names)} {'tensor' if len(names) == 1 else 'tensors'}: {reason} ({shown})"

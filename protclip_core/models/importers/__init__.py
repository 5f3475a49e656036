"""Checkpoints of others as bundles: what a source is, is found out from its content.

Read are our own bundles, the official ProtCLIP release, directories of transformers (ESM-2,
ProtBERT, BERT text encoders) and ``.pt`` files of fair-esm (ESM-2, ESM-1b, ESM-1v). Nothing in
them is ever run: safetensors are plain numbers, and pickled files pass an allow-list. Every
tensor of a source is kept, left out for a known reason, or refused.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protclip_core.errors import ModelError, UsageError
from protclip_core.fetch.cache import check_name
from protclip_core.fetch.needed_files import refuse_remote_code
from protclip_core.models.importers.configs import read_config
from protclip_core.weights.bundle import MANIFEST, Bundle
from protclip_core.weights.file_kinds import describe_content, is_safetensors
from protclip_core.weights.names import refuse_adapter

if TYPE_CHECKING:
    from protclip_core.models.importers.converted import Converted

__all__ = ["Imported", "import_model"]

_log = logging.getLogger(__name__)

_CONFIG = "config.json"
#: Endings under which torch itself writes weights.
_TORCH_ENDINGS = (".pt", ".pth", ".bin")
_KINDS = (
    "protclip imports its own bundles, the official ProtCLIP release, directories of transformers "
    "with config.json, and .pt files of fair-esm"
)


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import gave.

    Attributes
    ----------
    bundle
        The bundle that was written, opened.
    kind
        What the source is, in words: ``"official ProtCLIP checkpoint"``.
    kept
        Number of tensors in the bundle.
    left_out
        Reason to the names, in the source, of tensors that are not in the bundle.
    notes
        What a user should know, clauses without a subject: ``"has no lm_head: …"``.
    """

    bundle: Bundle
    kind: str
    kept: int
    left_out: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def import_model(
    source: Path,
    target: Path,
    *,
    name: str,
    tokenizer: Path | None = None,
    origin: str | None = None,
    license: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Imported:
    """Turn a checkpoint into a bundle.

    Parameters
    ----------
    source
        A directory or a file; archives are to be unpacked first.
    target
        Folder of the bundle. It must not exist, and appears whole or not at all; its parents are
        made.
    name
        Name that the bundle is to have.
    tokenizer
        ``vocab.txt`` or ``tokenizer.json`` of the text encoder; default what is in the source.
    origin
        Where the source came from; default its file name.
    license
        What its publisher says.
    config
        Configuration of the checkpoint, for one that comes without its own ``config.json``.

    Raises
    ------
    ModelError
        Not a model that protclip reads, damaged, untrusted, or with tensors that do not fit,
        by name.
    ResourceError
        The disk is full.
    UsageError
        ``source`` or ``tokenizer`` is not there, ``target`` is, or ``name`` cannot be one.
    """
    from protclip_core.models.importers.writing import copy_bundle, write_converted

    source, target = Path(source), Path(target)
    check_name(name)
    if not source.exists():
        raise UsageError(
            "no such file or folder",
            code="usage.no_such_file",
            where=str(source),
            hint="check the path",
        )
    if (source / MANIFEST).is_file():
        from protclip_core.models.from_bundle import check_bundle
        from protclip_core.models.info import describe_model

        _warn_unused(tokenizer, source)
        came_from = origin or source.resolve().name
        # By a full path, which is never taken for the name of a model.
        info = describe_model(source.absolute())
        assert info.bundle is not None
        kept = check_bundle(info)
        bundle = copy_bundle(info.bundle, target, name=name, origin=came_from)
        return Imported(bundle=bundle, kind="protclip bundle", kept=kept)
    converted = _convert(source, tokenizer, config)
    settings = (source if source.is_dir() else source.parent) / _CONFIG
    if converted.source_kind != "fair-esm" and settings.is_file():
        converted.sources = [*converted.sources, settings]
    bundle = write_converted(
        converted, target, name=name, origin=origin or source.resolve().name, license=license
    )
    return Imported(
        bundle=bundle,
        kind=converted.kind,
        kept=len(converted.tensors),
        left_out=converted.left_out,
        notes=converted.notes,
    )


def _convert(source: Path, tokenizer: Path | None, config: Mapping[str, Any] | None) -> Converted:
    """Find out what the source is and hand it to its importer."""
    from protclip_core.weights.tensors import weights_files

    if source.is_dir():
        config, where = _configuration(source, config)
        # Looked at before the weights: whoever wants to run code is refused for that.
        refuse_remote_code(config, where)
        return _by_type(weights_files(source), config, where, source, tokenizer)
    if source.suffix == ".safetensors" or is_safetensors(source):
        found = describe_content(source)
        if found != "a safetensors file":
            raise ModelError(
                f"not a readable safetensors file (it looks like {found})",
                code="model.damaged",
                where=str(source),
                hint="fetch the file again",
            )
        config, where = _configuration(source.parent, config)
        refuse_remote_code(config, where)
        return _by_type([source], config, where, source.parent, tokenizer)
    found = describe_content(source)
    if source.suffix in _TORCH_ENDINGS and found in ("a file of torch.save", "a pickle"):
        if source.suffix == ".bin" and (source.parent / _CONFIG).is_file():
            config, where = _configuration(source.parent, config)
            refuse_remote_code(config, where)
            return _by_type([source], config, where, source.parent, tokenizer)
        from protclip_core.models.importers.fair_esm import convert_fair_esm

        _warn_unused(tokenizer, source)
        return convert_fair_esm(source)
    hint = "unpack it first" if "archive" in found and "NumPy" not in found else _KINDS
    raise ModelError(
        f"is not a model (it looks like {found})",
        code="model.unknown_kind",
        where=str(source),
        hint=hint,
    )


def _configuration(folder: Path, given: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], str]:
    """Return the configuration of a checkpoint, and where it stands."""
    path = folder / _CONFIG
    if path.is_file():
        return read_config(path), str(path)
    if given is not None:
        return given, str(folder)
    refuse_adapter(folder)
    files = sorted(folder.glob("*.pt"))
    hint = f"give the file itself: {files[0]}" if files else _KINDS
    raise ModelError(f"no {_CONFIG} in it", code="model.missing_file", where=str(folder), hint=hint)


def _by_type(
    files: list[Path],
    config: Mapping[str, Any],
    where: str,
    folder: Path,
    tokenizer: Path | None,
) -> Converted:
    kind = config.get("model_type")
    if kind == "FST":
        from protclip_core.models.importers.official import convert_official

        return convert_official(files, config, where, folder=folder, tokenizer=tokenizer)
    from protclip_core.models.importers.transformers_models import convert_bert, convert_esm2

    if kind == "bert":
        return convert_bert(files, config, where, folder=folder, tokenizer=tokenizer)
    if kind == "esm":
        _warn_unused(tokenizer, folder)
        return convert_esm2(files, config, where, folder=folder)
    raise ModelError(
        f"model_type {kind!r} is not supported",
        code="model.unsupported_architecture",
        where=where,
        hint=_KINDS,
    )


def _warn_unused(tokenizer: Path | None, source: Path) -> None:
    if tokenizer is not None:
        _log.warning("%s: needs no tokenizer; %s is not used", source, tokenizer)

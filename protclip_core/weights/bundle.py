"""A bundle: one directory that is one released model.

Format ``protclip-bundle``, version 1::

    config.json          what the model is: shapes, pooling, licence (see `BundleConfig`)
    model.safetensors    all tensors but those of structures; names below
    structure.safetensors    tensors of the structure encoder, where there is one
    tokenizer.json       tokenizer of the text encoder, where there is one
    MODEL_CARD.md        what it was trained on and what it is good for
    manifest.json        {"format": "protclip-manifest", "files": {name: {"sha256", "bytes"}}}

Tensor names::

    protein_encoder.*                      as its type says: `Esm2`, `KmerEncoder`, BertModel
                                           (its head, if any, as `ResidueLmHead`: lm_head.*),
                                           ProteinBertModel
    text_encoder.*                         BertModel
    protein_projection.{0,2}.*  text_projection.{0,2}.*   the plain form of the projections
    {protein,text}_projection.{norm,hidden,output}.*  {protein,text}_projection.skip.weight
                                           where ``projection`` of config.json says "skip"
    structure_encoder.*                    `StructureEncoder` or `LetterEncoder`
    structure_projection.*                 as the others
    logit_scale
    residue_heads.mlm.{0,2,3}.*            residues from the protein encoder's token vectors
    residue_heads.segment_head.{0,2,3}.*   residues of masked segments, from the decoder's output
    residue_heads.segment_decoder.{query,key,value}.*
    residue_heads.prototypes.weight  residue_heads.segment_logit_scale (these two together)

The projections lead from the mean vectors of the encoders into the joint space, which is
``projection_dim`` wide. In the plain form they are Linear, ReLU, Linear, with the joint width
between. With ``"projection": {"form": "skip", "hidden_dim": H}`` in ``config.json`` both are
``output(GELU(hidden(norm(x)))) + skip(norm(x))``, where ``hidden`` is H wide, ``norm`` a LayerNorm
with weights and ``skip`` a linear map without bias (`SkipProjection`). ``"protein_dim": W`` beside
these: of a protein's vector only the first W entries are read, the input of a k-mer encoder that
has ``keep_input`` (nothing else may be read alone).

Where ``config.json`` has a ``structure_encoder``, structures are a third modality of the joint
space. Their projection has a form of its own, ``structure_projection``; without, it is the plain
one. The tensors are in a file of their own: a model keeps its identity, and with it all stores,
heads and indexes, when structures come to it later (`protclip_core.weights.attach`).

A bundle has a protein encoder, a text encoder, or both with their projections; residue heads and
the structure encoder are optional. Every file that the manifest names must be there with its
hash, and nothing is ever unpickled. A bundle is read-only once it is written.
"""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from protclip_core.errors import ModelError
from protclip_core.io.json_fields import Sha256, one_line, read_as
from protclip_core.weights.file_kinds import describe_content, safetensors_shapes

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Bundle",
    "count_parameters",
    "open_bundle",
    "stored_tensors",
    "write_bundle",
    "write_files",
]

STRUCTURE_WEIGHTS = "structure.safetensors"
FORMAT, FORMAT_VERSION = "protclip-bundle", 1
WEIGHTS, CONFIG, MANIFEST = "model.safetensors", "config.json", "manifest.json"
#: What names of tensors, and fields of the configuration, of structures begin with.
STRUCTURE = "structure_"
_CHUNK_BYTES = 1 << 20
#: Configurations and manifests have a few thousand bytes.
_MOST_JSON_BYTES = 16_000_000


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its files are named, its configuration is read, no tensor is.

    Attributes
    ----------
    path
        The directory.
    config
        Content of ``config.json``.
    files
        File name to expected sha256 (hex), from the manifest.
    """

    path: Path
    config: dict[str, Any]
    files: dict[str, str]

    @property
    def name(self) -> str:
        """Name of the model."""
        return str(self.config.get("name", self.path.name))

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights file: the identity of the model in every output."""
        return self.files[WEIGHTS]

    @property
    def structure_sha256(self) -> str | None:
        """Hash of the file of the structure encoder; ``None`` where there is none."""
        return self.files.get(STRUCTURE_WEIGHTS)

    def verify(self, names: tuple[str, ...] | None = None) -> None:
        """Compare files with their hashes.

        Parameters
        ----------
        names
            Files to check; default all that the manifest names.

        Raises
        ------
        ModelError
            A file is missing or differs; both hashes are in the message.
        """
        for name in names or tuple(self.files):
            path = self.path / name
            if not path.is_file():
                raise ModelError(
                    "file of the model is missing",
                    code="model.missing_file",
                    where=str(path),
                    hint=_FETCH_AGAIN,
                )
            found = sha256_of(path)
            if found != self.files[name]:
                raise ModelError(
                    f"sha256 mismatch, expected {self.files[name]}, got {found}",
                    code="model.hash_mismatch",
                    where=str(path),
                    hint=_FETCH_AGAIN,
                )

    def tensors(self, prefix: str = "", *, file: str = WEIGHTS) -> dict[str, Tensor]:
        """Load the tensors whose names begin with ``prefix``; the prefix is cut off.

        Parameters
        ----------
        prefix
            Beginning of their names.
        file
            The file to read, `WEIGHTS` or `STRUCTURE_WEIGHTS`.

        The weights file is compared with its hash first: safetensors itself loads a file with
        a flipped data byte without a word.

        Raises
        ------
        ModelError
            Missing, changed or unreadable weights, or more tensors than any model has.
        """
        from safetensors import SafetensorError, safe_open

        if file not in self.files:
            raise ModelError(
                f"manifest does not name {file}", code="model.missing_file", where=str(self.path)
            )
        self.verify((file,))
        path = self.path / file
        safetensors_shapes(path)
        try:
            with safe_open(path, framework="pt") as opened:
                return {
                    name.removeprefix(prefix): opened.get_tensor(name)
                    for name in opened.keys()  # noqa: SIM118 (not a mapping)
                    if name.startswith(prefix)
                }
        except (SafetensorError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise ModelError(
                f"not a readable safetensors file (it looks like {describe_content(path)})",
                code="model.damaged",
                where=str(path),
                hint=_FETCH_AGAIN,
            ) from error


_FETCH_AGAIN = "the copy is damaged: fetch or install the model again"


def open_bundle(path: str | Path) -> Bundle:
    """Open a bundle directory and read its configuration and manifest.

    Raises
    ------
    ModelError
        No bundle there, a damaged one, or one of a newer format.
    """
    folder = Path(path)
    manifest = _read_json(folder / MANIFEST)
    files = _listed_files(manifest, str(folder / MANIFEST))
    for needed in (CONFIG, WEIGHTS):
        if needed not in files:
            raise ModelError(
                f"manifest does not name {needed}",
                code="model.bad_manifest",
                where=str(folder / MANIFEST),
            )
    for name in files:
        # A manifest is data from elsewhere: it may only speak of files in its own folder.
        if Path(name).name != name or name in {"", ".", ".."} or not name.isprintable():
            shown = one_line(repr(name), 80)
            raise ModelError(
                f"manifest names {shown}, outside the bundle",
                code="model.bad_manifest",
                where=str(folder),
            )
    bundle = Bundle(folder, _read_json(folder / CONFIG), files)
    bundle.verify((CONFIG,))
    config = bundle.config
    if config.get("format") != FORMAT:
        shown = one_line(reprlib.repr(config.get("format")), 80)
        raise ModelError(
            f"format is {shown}, not {FORMAT!r}", code="model.unknown_format", where=str(folder)
        )
    version = config.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise ModelError(
            f"bundle format version {one_line(reprlib.repr(version), 80)}, "
            f"this protclip reads up to {FORMAT_VERSION}",
            code="model.newer_version",
            where=str(folder),
            hint="install a newer protclip",
        )
    read_as(_Labels, config, "model configuration", str(folder / CONFIG))
    return bundle


class _Listed(Struct):
    sha256: Sha256


class _Manifest(Struct):
    files: dict[str, Any]


class _Source(Struct):
    kind: str | None = None
    origin: str | None = None


class _Labels(Struct):
    """What a configuration says for people; what models are built from is checked later."""

    name: str | None = None
    license: str | None = None
    source: _Source | None = None


def _listed_files(manifest: Mapping[str, Any], where: str) -> dict[str, str]:
    """Return name to hash of the files of a manifest, every entry of which is checked."""
    files = read_as(_Manifest, manifest, "model manifest", where).files
    return {
        name: read_as(_Listed, entry, "model manifest", where, f"files.{one_line(name, 80)}").sha256
        for name, entry in files.items()
    }


def write_bundle(
    directory: str | Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    files: Mapping[str, bytes] | None = None,
    *,
    half: bool = True,
) -> Bundle:
    """Write a bundle.

    Parameters
    ----------
    directory
        Created if need be; files of the same names are replaced.
    config
        Content of ``config.json``.
    tensors
        Name to tensor; names as in the module's docstring.
    files
        Further files (tokenizer, model card): name to content.
    half
        Store floating-point tensors as float16; ``False`` keeps the type of each.

    Raises
    ------
    ModelError
        A value that float16 cannot hold, or that is no number, named by its tensor.
    """
    folder = Path(directory)
    parts = {
        WEIGHTS: {n: v for n, v in tensors.items() if not n.startswith(STRUCTURE)},
        STRUCTURE_WEIGHTS: {n: v for n, v in tensors.items() if n.startswith(STRUCTURE)},
    }
    stored = {file: stored_tensors(part, half=half) for file, part in parts.items() if part}
    stored.setdefault(WEIGHTS, {})
    folder.mkdir(parents=True, exist_ok=True)
    # Without a manifest the folder is not a bundle: it goes first and comes last.
    (folder / MANIFEST).unlink(missing_ok=True)
    return write_files(folder, config, stored, dict(files or {}), {CONFIG, *stored, *(files or {})})


def stored_tensors(tensors: Mapping[str, Tensor], *, half: bool) -> dict[str, Tensor]:
    """Return tensors as they are written, each with memory of its own; errors as `write_bundle`."""
    import torch

    stored: dict[str, Tensor] = {}
    used: set[int] = set()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu()
        kept = value.to(torch.float16) if half and value.is_floating_point() else value
        if value.is_floating_point() and not bool(torch.isfinite(kept).all()):
            what = "values that float16 cannot store" if half else "NaN or infinity"
            raise ModelError(f"holds {what}", code="model.bad_tensor", where=f"tensor {name}")
        kept = kept.contiguous()
        # Tensors that share memory are refused by safetensors.
        storage = kept.untyped_storage().data_ptr()
        stored[name] = kept.clone() if storage in used else kept
        used.add(storage)
    return stored


def write_files(
    folder: Path,
    config: Mapping[str, Any],
    stored: Mapping[str, dict[str, Tensor]],
    files: Mapping[str, bytes],
    names: Collection[str],
) -> Bundle:
    """Write files of a bundle and, last, the manifest of all its ``names``."""
    from safetensors.torch import save_file

    (folder / CONFIG).write_bytes(_json_bytes(config))
    for file, tensors in stored.items():
        save_file(tensors, folder / file)
        # safetensors makes it as private as a temporary file; it is to be as its neighbours.
        (folder / file).chmod((folder / CONFIG).stat().st_mode & 0o777)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    listing = {
        name: {"sha256": sha256_of(folder / name), "bytes": (folder / name).stat().st_size}
        for name in sorted(names)
    }
    manifest = {"format": "protclip-manifest", "files": listing}
    (folder / MANIFEST).write_bytes(_json_bytes(manifest))
    return open_bundle(folder)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file as lower-case hex, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _json_bytes(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_JSON_BYTES + 1)
        if len(data) > _MOST_JSON_BYTES:
            raise ModelError(
                f"has more than {_MOST_JSON_BYTES:,} bytes", code="model.too_large", where=str(path)
            )
        content = json.loads(data)
    except FileNotFoundError:
        raise ModelError(
            "no such file", code="model.not_found", where=str(path), hint="not a model bundle"
        ) from None
    except RecursionError:
        raise ModelError(
            "cannot be read (too many brackets)", code="model.bad_json", where=str(path)
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(
            f"cannot be read ({error})", code="model.unreadable", where=str(path)
        ) from error
    if not isinstance(content, dict):
        raise ModelError("is not a JSON object", code="model.bad_json", where=str(path))
    return content


def count_parameters(bundle: Bundle) -> int:
    """Count the numbers of all tensors from the head of the file.

    Raises
    ------
    ModelError
        The file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    shapes = []
    for name in (WEIGHTS, STRUCTURE_WEIGHTS):
        if name not in bundle.files:
            continue
        path = bundle.path / name
        try:
            with safe_open(path, framework="numpy") as file:
                shapes += [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
        except SafetensorError as error:
            raise ModelError(
                f"not a readable safetensors file ({error})", code="model.damaged", where=str(path)
            ) from error
    return sum(math.prod(shape) for shape in shapes)

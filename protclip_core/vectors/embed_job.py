"""A request to embed, checked and completed step by step until it can run."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protclip_core.engines.local import LocalEngine
from protclip_core.errors import InputError, ModelError, ResourceError, UsageError
from protclip_core.models.info import ModelInfo, require_protein_encoder
from protclip_core.models.loading import load_model, resolve_device
from protclip_core.models.protein import ProteinModel
from protclip_core.models.settings import EmbedSettings, resolve_settings
from protclip_core.records import Failure, RecordFlag
from protclip_core.store.spool import Spool, SpooledRecord
from protclip_core.vector_spec import VectorSpec
from protclip_core.vectors.embed_request import EmbedRequest

__all__ = [
    "EmbedJob",
    "EmbedReport",
    "apply_long_policy",
    "check_early",
    "count_failures",
    "disk_bytes",
    "load_job",
    "refuse_nothing",
    "settings_without_weights",
    "width_of",
]

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class EmbedReport:
    """What came of it.

    Attributes
    ----------
    records
        Records in the output.
    computed, reused
        Distinct sequences embedded now, and taken from an earlier, interrupted run.
    residues
        Residues of the sequences embedded now.
    seconds
        Time of the computation, without reading and assembling.
    num_failures, first_failures
        Records that are not in the output; the first five of them.
    failures_path
        Table of all of them, or ``None`` where there are none.
    """

    records: int = 0
    computed: int = 0
    reused: int = 0
    residues: int = 0
    seconds: float = 0.0
    num_failures: int = 0
    first_failures: list[Failure] = field(default_factory=list)
    failures_path: Path | None = None


@dataclass(frozen=True)
class EmbedJob:
    """A request with its model loaded and its settings resolved."""

    request: EmbedRequest
    model: ProteinModel
    settings: EmbedSettings

    @property
    def limit(self) -> int | None:
        """Residues that are embedded at most; ``None`` for all."""
        return self.settings.max_residues if self.request.long == "truncate" else None

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self.model.dim(self.settings)

    def engine(self) -> LocalEngine:
        """Make the engine that the request asks for."""
        request = self.request
        return LocalEngine(self.model, workers=request.workers, batch_tokens=request.batch_tokens)

    def flags(self, record: SpooledRecord) -> RecordFlag:
        """Return the flags of a record, and of what this run does to it."""
        if record.length <= self.settings.max_residues:
            return record.flags
        truncated = self.request.long == "truncate"
        return record.flags | (RecordFlag.TRUNCATED if truncated else RecordFlag.WINDOWED)

    @property
    def spec(self) -> VectorSpec:
        """How the vectors are made."""
        # In bfloat16 a GPU rounds at more places than a CPU.
        dtype, device = self.request.dtype, self.model.encoder.device.type
        return VectorSpec(
            model=self.model.info.name,
            weights_sha256=self.model.weights_sha256,
            config_sha256=self.model.info.config_sha256,
            pooling=self.settings.pooling,
            space=self.settings.space,
            layer=self.settings.layer,
            dtype=dtype if dtype == "float32" else f"{dtype} ({device})",
            long="truncate" if self.request.long == "truncate" else "window",
            max_residues=self.settings.max_residues,
            overlap=self.settings.overlap,
        )

    def key(self) -> dict[str, Any]:
        """Return the settings that the stored numbers depend on: equal keys, equal vectors."""
        made = self.spec.to_attributes()
        del made["model"]  # a name is not an identity
        late = {name: made.pop(name) for name in ("long", "max_residues", "overlap")}
        return {
            **made,
            "store_dtype": self.request.store_dtype,
            "per_residue": int(self.settings.per_residue),
            **late,
        }


def disk_bytes(spool: Spool, dim: int, request: EmbedRequest, settings: EmbedSettings) -> int:
    """Bytes on disk that a run needs at most: list of records, finished parts, assembled store."""
    limit = settings.max_residues if request.long == "truncate" else None
    records, residues = spool.output_residues(limit)
    width = dim * (2 if request.store_dtype == "float16" else 4)
    rows = records + (residues if settings.per_residue else 0)
    # HDF5 spends several hundred bytes on each dataset.
    each = 600 if request.layout == "per-protein" else 200
    return 2 * rows * width + each * records + spool.full_bytes + (1 << 20)


def check_early(request: EmbedRequest, info: ModelInfo) -> None:
    """Refuse what needs no input and no weights to be seen as wrong."""
    if request.resume and request.overwrite:
        raise UsageError("--resume and --overwrite contradict each other", hint="drop one")
    if request.long not in ("window", "truncate", "skip", "error"):
        raise UsageError(f"--long {request.long} is not known")
    require_protein_encoder(info)
    resolve_device(request.device)
    settings_without_weights(request, info)


def settings_without_weights(request: EmbedRequest, info: ModelInfo) -> EmbedSettings | None:
    """Resolve the settings where the model's shape is known before its weights are read."""
    return None if info.num_layers is None else _resolve(request, info, info.num_layers)


def _resolve(request: EmbedRequest, info: ModelInfo, num_layers: int) -> EmbedSettings:
    return resolve_settings(
        info,
        num_layers,
        pooling=request.pooling,
        space=request.space,
        layer=request.layer,
        per_residue=request.per_residue,
        max_residues=request.max_residues,
    )


def width_of(info: ModelInfo, settings: EmbedSettings) -> int:
    """Width of the vectors, told without loading weights."""
    width = (info.joint_dim if settings.space == "joint" else None) or info.hidden_dim
    assert width is not None  # the settings are known without weights, so is the shape
    return width


def load_job(request: EmbedRequest, info: ModelInfo) -> EmbedJob:
    """Load the model and resolve the settings against it."""
    model = load_model(info, device=request.device, dtype=request.dtype)
    settings = _resolve(request, info, model.encoder.num_layers)
    longest = getattr(model.encoder, "max_residues", None)
    if longest is not None and settings.max_residues > longest:
        raise UsageError(
            f"--max-length {settings.max_residues} is more than this model's {longest} residues"
        )
    return EmbedJob(request, model, settings)


def apply_long_policy(request: EmbedRequest, settings: EmbedSettings, spool: Spool) -> None:
    """Say what happens to proteins beyond one window, or refuse them."""
    limit = settings.max_residues
    count = spool.count_longer_than(limit)
    if count == 0:
        return
    what = f"{count:,} protein{'s' if count > 1 else ''} of more than {limit:,} residues"
    if request.long == "error":
        place, length = next(spool.longer_than(limit))
        raise InputError(
            f"{length:,} residues are more than {limit:,} ({what} in all)",
            where=place,
            hint="embed them in windows (--long window), cut (truncate) or leave out (skip)",
        )
    if request.long == "skip":
        spool.fail_longer_than(limit)
        if spool.output_residues()[0] == 0:
            raise InputError(
                f"{what}, and no other is there (--long skip)",
                hint="embed them in windows (--long window) or cut them (truncate)",
            )
    done = {
        "window": "embedded in overlapping windows",
        "truncate": f"cut to the first {limit:,}",
        "skip": "left out",
    }[request.long]
    _log.warning("%s: %s (--long %s)", what, done, request.long)


def refuse_nothing(spool: Spool, where: str) -> None:
    """Refuse to make an output without any record.

    Raises
    ------
    ModelError
        The model gives numbers that cannot be stored.
    ResourceError
        Memory does not suffice for any record.
    """
    if spool.output_residues()[0] > 0:
        return
    (last,) = deque(spool.failures(), maxlen=1)
    kind = ResourceError if "memory" in last.reason else ModelError
    raise kind(f"no record could be embedded: {last.where}: {last.reason}", where=where)


def count_failures(spool: Spool, report: EmbedReport) -> None:
    """Put the number of failed records and the first five of them into the report."""
    for failure in spool.failures():
        report.num_failures += 1
        if len(report.first_failures) < 5:
            report.first_failures.append(failure)

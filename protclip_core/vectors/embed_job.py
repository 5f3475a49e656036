"""A request to embed, checked and completed step by step until it can run.

`prepare` does for every sink (store, rows, plan) what comes before the vectors, each step once:
describe the model, check the options, read the input, apply ``--long``. The model is loaded when
it is first needed, so that all refusals come before.
"""

from __future__ import annotations

import logging
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from protclip_core.engines.local import OUT_OF_MEMORY
from protclip_core.errors import InputError, ModelError, ResourceError, UsageError
from protclip_core.io.inputs import expand_inputs
from protclip_core.models.info import ModelInfo, describe_model, require_protein_encoder
from protclip_core.models.loading import load_model, load_structure_model, resolve_device
from protclip_core.models.settings import EmbedSettings, resolve_settings
from protclip_core.progress import Progress
from protclip_core.records import Failure, counted
from protclip_core.store.spool import Spool
from protclip_core.vector_spec import SEQUENCE, STRUCTURE
from protclip_core.vectors.embed_input import InputReport, read_inputs
from protclip_core.vectors.embed_request import EmbedRequest
from protclip_core.vectors.job import EmbedJob, SequenceJob, StructureJob
from protclip_core.vectors.modality import choose_modality, structure_settings

__all__ = [
    "EmbedReport",
    "PreparedRun",
    "count_failures",
    "load_job",
    "prepare",
    "refuse_nothing",
    "temporary_spool",
]

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class EmbedReport:
    """The result of a run.

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
    modality
        What was embedded: ``"sequence"`` or ``"structure"``.
    num_failures, first_failures
        Records that are not in the output; the first five of them.
    failures_path
        Table of all failed records, or ``None`` if there are none.
    """

    records: int = 0
    computed: int = 0
    reused: int = 0
    residues: int = 0
    seconds: float = 0.0
    modality: str = SEQUENCE
    num_failures: int = 0
    first_failures: list[Failure] = field(default_factory=list)
    failures_path: Path | None = None


class PreparedRun:
    """A request whose input was read, ready to be computed or counted.

    Attributes
    ----------
    request, info, spool, found
        The request, its model, the records, and what was noticed about the input.
    early
        The settings if the shape of the model is known without its weights, else ``None``.
    """

    def __init__(
        self,
        request: EmbedRequest,
        info: ModelInfo,
        early: EmbedSettings | None,
        spool: Spool,
        found: InputReport,
    ) -> None:
        self.request, self.info, self.spool, self.found = request, info, spool, found
        self.early = early

    @cached_property
    def job(self) -> EmbedJob:
        """The request with its model; loaded on first use."""
        return load_job(self.request, self.info)

    @property
    def settings(self) -> EmbedSettings:
        """What to compute; loads the model only if its shape is inside the weights file."""
        return self.early or self.job.settings

    @property
    def dim(self) -> int:
        """Width of the vectors; loads the model only if `settings` must."""
        if self.early is None:
            return self.job.dim
        joint = self.info.joint_dim if self.early.space == "joint" else None
        tower = self.info.structure_encoder
        own = tower.hidden_dim if self.is_structural and tower else self.info.hidden_dim
        width = joint or own
        assert width is not None  # the settings are known without weights, so is the shape
        return width

    @property
    def is_structural(self) -> bool:
        """Whether structures are embedded."""
        return self.request.modality == STRUCTURE

    def disk_bytes(self) -> int:
        """Return the disk space the run needs at most: records, finished vectors, the store."""
        request, spool = self.request, self.spool
        limit = self.settings.max_residues if request.long == "truncate" else None
        records, residues = spool.output_residues(limit)
        width = self.dim * (2 if request.store_dtype == "float16" else 4)
        rows = records + (residues if self.settings.per_residue else 0)
        # HDF5 spends several hundred bytes on each dataset.
        each = 600 if request.layout == "per-protein" else 200
        return 2 * rows * width + each * records + spool.full_bytes + (1 << 20)


@contextmanager
def prepare(
    request: EmbedRequest,
    progress: Progress,
    spool: AbstractContextManager[Spool],
    *,
    count_only: bool = False,
) -> Iterator[PreparedRun]:
    """Check a request and read its input into a spool.

    Parameters
    ----------
    request
        What to embed.
    progress
        Told of reading.
    spool
        Gives the place of the records. It is entered once the options have been checked, and left
        with the block.
    count_only
        Keep bad records and long proteins in the count rather than refuse them.

    Raises
    ------
    UsageError
        Options that contradict each other or do not fit the model.
    ModelError
        No such model, or one that does not take proteins.
    InputError
        Input that cannot be read or, unless ``count_only``, bad records.
    """
    info = describe_model(request.model)
    early = _check_options(request, info)
    request = replace(request, inputs=expand_inputs(request.inputs))
    modality, structures = choose_modality(
        request.inputs, request.modality, info, request.chains or ()
    )
    request = replace(request, modality=modality)
    if modality == STRUCTURE:
        early = structure_settings(request)
    with spool as opened:
        reading = replace(request, on_error="skip") if count_only else request
        found = read_inputs(reading, info, opened, progress, structures)
        run = PreparedRun(request, info, early, opened, found)
        if not count_only and modality != STRUCTURE:
            _apply_long_policy(request, run.settings, opened)
        yield run


@contextmanager
def temporary_spool(*, keep_residues: bool = True) -> Iterator[Spool]:
    """Give a spool in the folder for temporary files."""
    hint = "make room there, or set TMPDIR to a folder on another disk"
    with (
        tempfile.TemporaryDirectory(prefix="protclip-") as folder,
        Spool(Path(folder) / "records", keep_residues=keep_residues, hint=hint) as spool,
    ):
        yield spool


def _check_options(request: EmbedRequest, info: ModelInfo) -> EmbedSettings | None:
    """Refuse options that are wrong whatever the input; ``None`` if only the weights can tell."""
    if request.resume and request.overwrite:
        problem = "--resume and --overwrite contradict each other"
        raise UsageError(problem, code="usage.conflicting_options", hint="drop one")
    if request.long not in ("window", "truncate", "skip", "error"):
        problem, hint = f"unknown --long {request.long!r}", "use window, truncate, skip or error"
        raise UsageError(problem, code="usage.unknown_value", hint=hint)
    require_protein_encoder(info)
    resolve_device(request.device)
    return None if info.num_layers is None else _resolve(request, info, info.num_layers)


def _resolve(request: EmbedRequest, info: ModelInfo, num_layers: int) -> EmbedSettings:
    return resolve_settings(
        info,
        num_layers,
        pooling=request.pooling,
        space=request.space or "encoder",
        layer=request.layer,
        per_residue=request.per_residue,
        max_residues=request.max_residues,
    )


def load_job(request: EmbedRequest, info: ModelInfo) -> EmbedJob:
    """Load the model and resolve the settings against it."""
    if request.modality == STRUCTURE:
        structures = load_structure_model(info, device=request.device)
        return StructureJob(request, structures, structure_settings(request))
    model = load_model(info, device=request.device, dtype=request.dtype)
    settings = _resolve(request, info, model.encoder.num_layers)
    longest = getattr(model.encoder, "max_residues", None)
    if longest is not None and settings.max_residues > longest:
        problem = f"--max-length {settings.max_residues} exceeds this model's {longest} residues"
        raise UsageError(problem, code="usage.bad_value")
    return SequenceJob(request, model, settings)


def _apply_long_policy(request: EmbedRequest, settings: EmbedSettings, spool: Spool) -> None:
    """Say what happens to proteins longer than one window, or refuse them."""
    limit = settings.max_residues
    count = spool.count_longer_than(limit)
    if count == 0:
        return
    what = f"{counted(count, 'protein')} of more than {limit:,} residues"
    if request.long == "error":
        place, length = next(spool.longer_than(limit))
        raise InputError(
            f"{length:,} residues are more than {limit:,} ({what} in all)",
            code="input.too_long",
            where=place,
            hint="embed them in windows (--long window), cut (truncate) or leave out (skip)",
        )
    if request.long == "skip":
        spool.fail_longer_than(limit)
        if spool.output_residues()[0] == 0:
            raise InputError(
                f"{what}, and there is no other (--long skip)",
                code="input.too_long",
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
        There is not enough memory for any record.
    """
    if spool.output_residues()[0] > 0:
        return
    (last,) = deque(spool.failures(), maxlen=1)
    what = f"no record could be embedded: {last.where}: {last.reason}"
    if last.code == OUT_OF_MEMORY:
        raise ResourceError(what, code="resource.out_of_memory", where=where)
    raise ModelError(what, code="model.nothing_embedded", where=where)


def count_failures(spool: Spool, report: EmbedReport) -> None:
    """Put the number of failed records and the first five of them into the report."""
    for failure in spool.failures():
        report.num_failures += 1
        if len(report.first_failures) < 5:
            report.first_failures.append(failure)

"""What an embedding run would need, without running it: ``protclip embed --dry-run``."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field
from itertools import islice

from protclip_core.encoders.kmer_config import KmerConfig
from protclip_core.encoders.shapes import Esm2Config
from protclip_core.encoders.windows import window_starts
from protclip_core.engines.local import GPU_BATCH_TOKENS, usable_cores
from protclip_core.engines.memory import available_memory
from protclip_core.io.fasta import STANDARD_RESIDUES
from protclip_core.io.input_summary import InputSummary
from protclip_core.models.loading import resolve_device
from protclip_core.models.protein import DEFAULT_BATCH_TOKENS
from protclip_core.models.settings import EmbedSettings
from protclip_core.progress import Progress, SilentProgress, time_span
from protclip_core.records import Failure
from protclip_core.vectors.embed_input import InputReport
from protclip_core.vectors.embed_job import PreparedRun, prepare, temporary_spool
from protclip_core.vectors.embed_request import EmbedRequest

__all__ = ["EmbedPlan", "plan_embedding"]

_MB = 1e6
#: Of a trial: sequences, residues of the first, and seconds of its last portion.
_MOST_TRIED, _FIRST_TRIED, _ENOUGH, _LONGEST_TRIAL = 1000, 200, 0.5, 4.0
_Shape = Esm2Config | KmerConfig


@dataclass(kw_only=True)
class EmbedPlan:
    """Counts of the input and an estimate of what it needs.

    Attributes
    ----------
    disk_bytes
        Largest disk use during the run: the working file next to the assembled store.
    seconds
        Loading the model and embedding, by a short trial; NaN where none was made.
    memory_bytes
        Weights, the activations of one batch per worker and the buffers; an estimate. None for
        structures.
    gigaflops
        Floating-point work of the encoder, in units of 10^9 operations; None for structures.
    windows_of
        Residues of a window; None for structures, which are embedded whole.
    num_failures
        Records that the run would not embed: bad ones, and long ones if they are to be skipped
        or refused.
    refused
        Whether the run would end because of them, without any output.
    """

    model: str
    found: InputReport
    distinct: int
    long: int
    windows_of: int | None
    repeated: int
    dim: int
    disk_bytes: int
    memory_bytes: int | None
    gigaflops: float | None
    seconds: float = math.nan
    num_failures: int = 0
    refused: bool = False
    failures: list[Failure] = field(default_factory=list)

    @property
    def summary(self) -> InputSummary:
        """Counts of the records."""
        return self.found.summary

    def rows(self) -> list[tuple[str, str]]:
        """Return the plan as pairs of a name and a text."""
        rows = [
            ("model", f"{self.model}, {self.dim} numbers a protein"),
            ("input", self.found.describe()),
            ("distinct sequences", f"{self.distinct:,}"),
            ("repeated records", f"{self.repeated:,}"),
            ("longest", f"{self.summary.longest:,} residues"),
        ]
        if self.windows_of is None:
            rows[2] = ("distinct structures", f"{self.distinct:,}")
        else:
            rows.append((f"longer than {self.windows_of:,}", f"{self.long:,}"))
        rows += [
            ("records that cannot be used", f"{self.num_failures:,}"),
            ("disk at its peak", f"{self.disk_bytes / _MB:,.1f} MB"),
        ]
        if self.memory_bytes is not None:
            rows.append(("memory needed", f"about {self.memory_bytes / _MB:,.0f} MB"))
        if self.gigaflops is not None:
            rows.append(("work", f"{self.gigaflops:,.0f} GFLOP"))
            rows.append(("estimated time", self._time()))
        return rows

    def _time(self) -> str:
        if math.isnan(self.seconds):
            return "not measured"
        return f"about {time_span(max(1, round(self.seconds)))}, by a short trial on this machine"


def plan_embedding(request: EmbedRequest, progress: Progress | None = None) -> EmbedPlan:
    """Read the input and count, and try the model; bad records are counted, not raised.

    Raises
    ------
    InputError
        A file that cannot be read at all.
    UsageError, ModelError
        As the run itself would raise them.
    """
    spool_place = temporary_spool(keep_residues=False)
    with prepare(request, progress or SilentProgress(), spool_place, count_only=True) as run:
        spool, settings = run.spool, run.settings
        # Of structures neither operations nor memory are estimated.
        config = None if run.is_structural else _shape(run)
        long = spool.count_longer_than(settings.max_residues)
        if request.long in ("skip", "error"):
            spool.fail_longer_than(settings.max_residues)
        records, _residues = spool.output_residues()
        bad = spool.num_refused > 0 and request.on_error == "fail"
        work = (
            None
            if config is None
            else sum(_flops(config, request, settings, n) for n in spool.lengths())
        )
        plan = EmbedPlan(
            model=run.info.name,
            found=run.found,
            distinct=spool.num_sequences,
            long=long,
            windows_of=None if run.is_structural else settings.max_residues,
            repeated=spool.num_repeated,
            dim=run.dim,
            disk_bytes=run.disk_bytes(),
            memory_bytes=None
            if config is None
            else _memory_bytes(config, request, spool.longest, settings),
            gigaflops=None if work is None else work / 1e9,
            num_failures=spool.num_refused + spool.num_records - records,
            refused=records == 0 or bad or (long > 0 and request.long == "error"),
            failures=list(islice(spool.failures(), 5)),
        )
        if config is None or work is None or plan.refused:
            return plan
        if (plan.memory_bytes or 0) < (available_memory() or math.inf):
            plan.seconds = _trial(run, config, spool.num_residues + work)
        return plan


def _trial(run: PreparedRun, config: _Shape, work: int) -> float:
    """Load the model, embed some sequences, and say how long all of it would take.

    Random sequences of the lengths that the input has are embedded in larger and larger portions,
    until one takes long enough to tell the speed, or they are all that the input has.
    """
    request, settings = run.request, run.settings
    stride = 1 + run.spool.num_sequences // _MOST_TRIED
    lengths = list(islice(run.spool.lengths(), stride // 2, None, stride))
    rng = random.Random(0)
    rng.shuffle(lengths)
    sequences = ["".join(rng.choices(STANDARD_RESIDUES, k=n)) for n in lengths]
    # A token costs something even where nothing is multiplied.
    sizes = [n + _flops(config, request, settings, n) for n in lengths]
    began = time.perf_counter()
    with run.job.engine() as engine:
        first = sequences[0][:_FIRST_TRIED]
        for _ in range(2):  # the first time, memory is found and kernels are made
            started = time.perf_counter()
            for _ in engine.run([first], settings):
                pass
        ready = time.perf_counter()
        start, portion, spent = 0, 1, max(ready - started, 1e-9)
        done = len(first) + _flops(config, request, settings, len(first))
        while start < len(sequences):
            part = slice(start, start + portion)
            if sum(sizes[part]) / done * spent > _LONGEST_TRIAL:
                break
            started = time.perf_counter()
            for _ in engine.run([one[: run.job.limit] for one in sequences[part]], settings):
                pass
            spent, done = max(time.perf_counter() - started, 1e-9), sum(sizes[part])
            start, portion = part.stop, 2 * portion
            if spent > _ENOUGH:
                break
    return ready - began + spent * work / done


def _shape(run: PreparedRun) -> _Shape:
    """Return the shape of the encoder; from its weights if nothing else tells it."""
    info = run.info
    if run.early is None or info.num_layers is None or info.hidden_dim is None:
        assert run.job.protein is not None
        encoder = run.job.protein.encoder
        return _counting_shape(encoder.num_layers, encoder.hidden_dim)
    if isinstance(info.encoder, KmerConfig):
        return info.encoder
    return _counting_shape(info.num_layers, info.hidden_dim, info.ffn_dim)


def _counting_shape(num_layers: int, width: int, ffn_dim: int | None = None) -> Esm2Config:
    """Shape to count operations by; the number of heads has no part in them."""
    return Esm2Config(
        num_layers=num_layers, hidden_dim=width, num_heads=1, ffn_dim=ffn_dim or 4 * width
    )


def _flops(
    config: _Shape, request: EmbedRequest, settings: EmbedSettings, num_residues: int
) -> int:
    """Operations for one protein, in as many windows as the settings cut it into."""
    window = settings.max_residues
    if request.long == "truncate":
        num_residues = min(num_residues, window)
    windows = len(window_starts(num_residues, window, settings.overlap))
    return windows * config.flops(min(num_residues, window) + 2)


def _memory_bytes(
    config: _Shape, request: EmbedRequest, longest: int, settings: EmbedSettings
) -> int:
    """Estimate: the interpreter with torch, weights in float32, activations, result buffers."""
    on_cpu = resolve_device(request.device).type == "cpu"
    workers = (request.workers or usable_cores()) if on_cpu else 1
    tokens = request.batch_tokens or (DEFAULT_BATCH_TOKENS if on_cpu else GPU_BATCH_TOKENS)
    tokens = max(tokens, min(longest, settings.max_residues) + 2)
    # Preparing the weights holds them twice for a moment.
    weights = 2 * 4 * config.num_weights
    return 350_000_000 + weights + workers * tokens * config.token_width * 4 + (200 << 20)

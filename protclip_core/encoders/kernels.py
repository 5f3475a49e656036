"""Which matrix and attention kernels a processor gets.

float32 products on x86 go through MKL by default. On AMD processors with AVX-512, MKL reaches
less than half of what oneDNN does (115 against 256 GFLOP/s on a Zen 5 core); on AMD processors
with AVX2 only it reaches its peak and oneDNN brings nothing (92 against 92 on a Zen 3 core).
The choice is made by processor, not by a race at start-up, so that the same machine always
computes the same numbers.

Legend: T tokens of the batch, D width, H heads, d width of one head.
"""

from __future__ import annotations

import functools
import mmap
import platform
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from protclip_core.encoders.packing import PackedTokens

__all__ = [
    "CpuKernels",
    "attend_chunked",
    "attend_runs",
    "attend_varlen",
    "choose_cpu_kernels",
    "cpu_has_bfloat16",
    "onednn_products",
    "packed_linear",
    "processor_name",
    "varlen_available",
]

#: A block of attention scores of this size stays in the second-level cache.
_SCORE_BLOCK_BYTES = 1_200_000
#: Rows that the packed weights are laid out for; other row counts work as well.
_PACKED_ROWS = 1024
#: What oneDNN may need beside a product for its kernel and scratch.
_KERNEL_BYTES = 8 << 20

Linear = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class CpuKernels:
    """Names of the kernels: ``linear`` "mkl" or "onednn", ``attention`` "flash" or "chunked"."""

    linear: str = "mkl"
    attention: str = "flash"


@functools.cache
def choose_cpu_kernels() -> CpuKernels:
    """Return the kernels for this processor (see the module's text)."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not _onednn_linear_works():
        return CpuKernels()
    return CpuKernels("onednn", "chunked" if _medium_precision_is_exact() else "flash")


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself (AVX512_BF16, AMX or the like).

    Without it bfloat16 products are emulated and ten times slower than float32.
    """
    check = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(check()) if check is not None else False


def processor_name() -> str:
    """Marketing name of the processor, or the machine type where it is not told."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def packed_linear(weight: Tensor, bias: Tensor, kernel: str) -> Linear:
    """Prepare ``x -> x W^T + b`` for repeated use.

    Parameters
    ----------
    weight, bias
        Shapes ``(out, in)`` and ``(out,)``, float32 or bfloat16.
    kernel
        ``"mkl"``: whatever PyTorch's own linear uses (on a GPU: cuBLAS); ``"onednn"``: the
        weight is laid out for oneDNN once. Both are exact float32 for float32 weights.
    """
    if kernel == "onednn":
        layout = torch.ops.mkldnn._reorder_linear_weight(weight, _PACKED_ROWS)
        return functools.partial(_onednn_linear, weight=layout, bias=bias)
    return lambda x: F.linear(x, weight, bias)


def _onednn_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    # oneDNN does not survive a lack of memory: a kernel that it could not write fails for ever, or
    # crashes. So the room is asked for before (a mapping that is never touched: microseconds).
    room = 4 * x.shape[0] * bias.shape[0] + _KERNEL_BYTES
    try:
        mmap.mmap(-1, room).close()
    except OSError as error:
        raise MemoryError(f"{room} bytes cannot be mapped") from error
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], ""))


def attend_runs(query: Tensor, key: Tensor, value: Tensor, batch: PackedTokens) -> Tensor:
    """Attention by PyTorch's fused kernel, a call for each run of equal lengths.

    All of shape ``(T, H, d)``; the query is already scaled by ``d ** -0.5``. Returns ``(T, D)``.
    """
    results = []
    for start, count, length in batch.runs:
        block = slice(start, start + count * length)
        q, k, v = (
            t[block].unflatten(0, (count, length)).transpose(1, 2) for t in (query, key, value)
        )
        attended = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        results.append(attended.transpose(1, 2).reshape(count * length, -1))
    return results[0] if len(results) == 1 else torch.cat(results)


def attend_chunked(query: Tensor, key: Tensor, value: Tensor, batch: PackedTokens) -> Tensor:
    """Attention as two products and a softmax, a few heads at a time, so that scores stay in cache.

    Same arguments and result as `attend_runs`. It materialises scores of one protein for at
    least one head, so its memory grows with the square of the length.
    """
    num_tokens, num_heads, _ = query.shape
    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    start = 0
    for length in batch.lengths:
        rows = slice(start, start + length)
        start += length
        step = max(1, min(num_heads, _SCORE_BLOCK_BYTES // (4 * length * length)))
        q, k, v = (
            query[rows].transpose(0, 1),
            key[rows].permute(1, 2, 0),
            value[rows].transpose(0, 1),
        )
        for head in range(0, num_heads, step):
            some = slice(head, head + step)
            scores = torch.bmm(q[some], k[some]).softmax(-1)
            out[rows, some] = torch.bmm(scores, v[some]).transpose(0, 1)
    return out.view(num_tokens, -1)


def varlen_available(device: torch.device, head_dim: int) -> bool:
    """Whether there is variable-length flash attention for this device and head width.

    It needs PyTorch 2.10, CUDA of compute capability 8 (Ampere) or later, and heads whose width is
    a multiple of 8 up to 256.
    """
    try:
        import torch.nn.attention.varlen
    except ImportError:
        return False
    if device.type != "cuda" or head_dim % 8 or head_dim > 256:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def attend_varlen(
    query: Tensor, key: Tensor, value: Tensor, batch: PackedTokens, bounds: Tensor
) -> Tensor:
    """Attention of all proteins in one call, bfloat16 or float16 on CUDA.

    Parameters
    ----------
    query, key, value
        Shape ``(T, H, d)``; the query is already scaled.
    batch
        The packed batch.
    bounds
        First token of each protein and the end, shape ``(B + 1,)``, int32, on the device.

    Notes
    -----
    ``num_splits=1`` where PyTorch knows it: splitting the keys would make the order of
    summation, and so the last bits, depend on the longest neighbour.
    """
    from torch.nn.attention.varlen import varlen_attn

    longest = max(batch.lengths)
    arguments = (query.contiguous(), key.contiguous(), value.contiguous(), bounds, bounds)
    try:
        out = varlen_attn(*arguments, longest, longest, scale=1.0, num_splits=1)
    except TypeError:  # PyTorch before the option existed
        out = varlen_attn(*arguments, longest, longest, scale=1.0)
    return cast(Tensor, out).flatten(1)


@contextmanager
def onednn_products() -> Iterator[None]:
    """Let float32 products go through oneDNN while the block runs.

    PyTorch does so at "medium" precision only, a setting of the whole process: blocks of several
    threads count as one, and the last to end restores it. On processors where these products are
    not exact, such as those with AMX, the block changes nothing.
    """
    if not _medium_precision_is_exact():
        yield
        return
    global _blocks_open, _precision_before
    with _precision_lock:
        if _blocks_open == 0:
            _precision_before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("medium")
        _blocks_open += 1
    try:
        yield
    finally:
        with _precision_lock:
            _blocks_open -= 1
            if _blocks_open == 0:
                torch.set_float32_matmul_precision(_precision_before)


_precision_lock = threading.Lock()
_blocks_open = 0
_precision_before = "highest"


def _onednn_linear_works() -> bool:
    """Try the private operators once; they may move between releases of PyTorch."""
    try:
        weight, bias, x = torch.ones(8, 8), torch.zeros(8), torch.ones(3, 8)
        return bool(torch.equal(packed_linear(weight, bias, "onednn")(x), torch.full((3, 8), 8.0)))
    except (AttributeError, RuntimeError):
        return False


@functools.cache
def _medium_precision_is_exact() -> bool:
    """Whether "medium" float32 products, which switch to oneDNN, keep float32 accuracy here.

    PyTorch permits bfloat16 inside them; processors with AMX use it, Zen 5 does not.
    """
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(64, 256, generator=generator)
    b = torch.randn(256, 64, generator=generator)
    exact = a @ b
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        error = float((a @ b - exact).norm() / exact.norm())
    finally:
        torch.set_float32_matmul_precision(before)
    return error < 1e-5

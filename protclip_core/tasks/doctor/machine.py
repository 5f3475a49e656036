"""Self-test of the machine: processor, devices, arithmetic, threads, memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from protclip_core.engines.memory import available_memory, memory_limit
from protclip_core.records import counted
from protclip_core.tasks.doctor.checks import OK, WARN, Check, gigabytes

__all__ = ["machine_checks"]

#: What embedding with a 650M-parameter model in float32 needs: 3.5 GB, that of 150M 0.86 GB.
_LITTLE_MEMORY = 4_000_000_000
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "sve", "bf16")


def machine_checks() -> Iterator[Check]:
    """Yield what the machine offers; only lack of memory and an unused GPU are warnings."""
    yield _memory()
    # The rest needs torch; a torch that cannot be imported is told by the caller.
    import torch

    from protclip_core.encoders.kernels import choose_cpu_kernels, cpu_has_bfloat16, processor_name
    from protclip_core.engines.local import usable_cores

    cores, usable = os.cpu_count() or 1, usable_cores()
    flags = [flag for flag in _FLAGS if flag in _cpu_flags()]
    yield Check(
        name="processor",
        status=OK,
        found=f"{processor_name()}, {usable} of {cores} cores usable"
        + (f" ({', '.join(flags)})" if flags else ""),
        advice="limited by affinity, a CPU quota, OMP_NUM_THREADS or SLURM_CPUS_PER_TASK"
        if usable < cores
        else "",
    )
    kernels = choose_cpu_kernels()
    yield Check(
        name="float32 on the CPU",
        status=OK,
        found=f"products by {kernels.linear}, attention {kernels.attention} "
        f"(PyTorch uses {torch.backends.cpu.get_cpu_capability()})",
    )
    fast, variable = cpu_has_bfloat16(), os.environ.get("OMP_NUM_THREADS", "not set")
    yield Check(
        name="bfloat16 on the CPU",
        status=OK,
        found="in hardware" if fast else "emulated, several times slower than float32",
        advice="" if fast else "keep --dtype float32 on the CPU",
    )
    yield Check(
        name="threads",
        status=OK,
        found=f"{counted(usable, 'worker')} of one thread each for embed; PyTorch itself uses "
        f"{torch.get_num_threads()} (OMP_NUM_THREADS={variable})",
    )
    yield from _gpus()


def _gpus() -> Iterator[Check]:
    import torch

    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        free, total = torch.cuda.mem_get_info(number)
        yield Check(
            name=f"cuda:{number}",
            status=OK,
            found=f"{properties.name}, compute capability {properties.major}.{properties.minor}, "
            f"{gigabytes(free)} of {gigabytes(total)} free, bfloat16 "
            + ("in hardware" if properties.major >= 8 else "emulated"),
        )
    if not torch.cuda.device_count():
        driver = Path("/proc/driver/nvidia/version").exists()
        built = torch.version.cuda
        yield Check(
            name="cuda",
            status=WARN if driver else OK,
            found="no device that PyTorch can use"
            + (f" (built for CUDA {built})" if built else " (built without CUDA)"),
            advice="an NVIDIA driver is there: install a PyTorch built for it" if driver else "",
        )
    if torch.backends.mps.is_available():
        yield Check(name="mps", status=OK, found="Apple GPU, float32")


def _memory() -> Check:
    free, limit = available_memory(), memory_limit()
    if free is None:
        return Check(name="memory", status=OK, found="this system does not tell")
    little = free < _LITTLE_MEMORY
    return Check(
        name="memory",
        status=WARN if little else OK,
        found=f"{gigabytes(free)} available"
        + (f", of a limit of {gigabytes(limit)} (cgroup)" if limit is not None else ""),
        advice="too little for models of 650M parameters; smaller ones run" if little else "",
    )


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(x.split()) for x in lines if x.startswith(("flags", "Features"))), set())

"""A lack of memory before a product of oneDNN, which would keep a broken kernel or crash."""

from __future__ import annotations

import subprocess
import sys

import pytest

from protclip_core.encoders import kernels

PROGRAM = """
import resource, torch
from protclip_core.encoders.kernels import packed_linear
linear = packed_linear(torch.ones(64, 64), torch.zeros(64), "onednn")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
before = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + 1_000_000, before[1]))
try:
    linear(torch.ones(3, 64))
except MemoryError:
    print("no memory")
resource.setrlimit(resource.RLIMIT_AS, before)
print(linear(torch.ones(3, 64)).sum().item())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif(not kernels._onednn_linear_works(), reason="PyTorch without these operators")
def test_the_shape_that_failed_works_again_with_memory():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split("\n")) == (0, ["no memory", "12288.0", ""]), done

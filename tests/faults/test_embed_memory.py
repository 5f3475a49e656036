"""Fault 35: memory stays the same however many records there are."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import pytest

from tests.support.helpers import RESIDUES

RECORDS = int(os.environ.get("PROTCLIP_RECORDS", "1000000"))

MEASURE = """
import resource, sys
from pathlib import Path

from protclip_core.tasks.embed.task import embed_to_store
from protclip_core.vectors import embed_job as embed
from protclip_core.vectors.embed_request import EmbedRequest

def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()

load, after_load = embed.load_job, []

def load_job(*arguments):
    job = load(*arguments)
    after_load.append(resident())
    return job

embed.load_job = load_job
request = EmbedRequest(
    inputs=(sys.argv[1],), output=Path(sys.argv[2]), model=sys.argv[3], device="cpu")
report = embed_to_store(request)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(report.records, report.computed, peak - after_load[0])
"""


def write_many(path, number):
    """Write distinct records of 10 to 30 residues."""
    rng = random.Random(0)
    with path.open("w") as file:
        for i in range(number):
            # The number in base 20 makes each sequence differ from all others.
            tag = "".join(RESIDUES[i // 20**k % 20] for k in range(5))
            rest = "".join(rng.choices(RESIDUES, k=rng.randint(5, 25)))
            file.write(f">sp|Q{i:07d}|NAME_{i}\n{tag}{rest}\n")


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_a_million_records_need_less_than_1_gb_beyond_the_model(tmp_path, tiny_bundle):
    """Fault 35: memory beyond the model is under 1 GB for 1,000,000 distinct records."""
    write_many(tmp_path / "x.fa", RECORDS)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path / "x.fa", tmp_path / "x.h5", tiny_bundle],
        stdout=subprocess.PIPE,
        check=True,
    )
    records, computed, beyond = map(int, done.stdout.split())
    print(f"{records:,} records: {beyond / 1e6:,.0f} MB, {time.monotonic() - began:,.0f} s")
    assert records == computed == RECORDS
    assert beyond < 1e9

"""Count how often one protein record enters each module on its way through ``protclip embed``.

    python tests/benchmarks/visits.py [--resume] [--top 15]

A visit is a call that enters a module of protclip from another one, a way a pair of modules that
such a call joins; imports and the loading of the model are left out, and so are worker threads and
the writes of HDF5. ``--resume`` counts a run that adds to a store.
Runs with any version: with ``PYTHONPATH`` set to a checkout, it counts that one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType

import protclip_core.tasks.embed.task as task

ROOT = str(Path(task.__file__).parents[2])


def count(request: task.EmbedRequest) -> Counter[tuple[str, str]]:
    """Return how often each module is entered from each other one while a request runs."""
    visits: Counter[tuple[str, str]] = Counter()
    skipped = [0]

    def module_of(frame: FrameType | None) -> str:
        while frame is not None and not frame.f_code.co_filename.startswith(ROOT):
            frame = frame.f_back
        return "" if frame is None else frame.f_code.co_filename[len(ROOT) + 1 :]

    def see(frame: FrameType, event: str, _argument: object) -> None:
        if not frame.f_code.co_filename.startswith(ROOT):
            return
        if frame.f_code.co_name in ("load_model", "describe_model", "<module>"):
            skipped[0] += {"call": 1, "return": -1}.get(event, 0)
        elif event == "call" and not skipped[0]:
            here, there = module_of(frame), module_of(frame.f_back)
            if here != there and "guarded_file" not in here:
                visits[there, here] += 1

    sys.setprofile(see)
    try:
        task.embed_to_store(request)
    finally:
        sys.setprofile(None)
    return visits


def main() -> None:
    """Print a table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--resume", action="store_true")
    options.add_argument("--top", type=int, default=15)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(folder, "x.fa")
        fasta.write_text(">a\nMKTAYIAKQRQISFVKSHFSRQ\n")

        def request(**options: object) -> task.EmbedRequest:
            return task.EmbedRequest(
                inputs=(str(fasta),), output=Path(folder, "x.h5"), workers=1, **options
            )

        visits = count(request())
        if given.resume:
            fasta.write_text(">b\nMKTAYIAKQRQISFVKSHFSRQLEERLGLI\n")
            visits = count(request(resume=True))
    by_module: Counter[str] = Counter()
    for (_, here), number in visits.items():
        by_module[here] += number
    print(f"{sum(visits.values())} visits of {len(by_module)} modules by {len(visits)} ways")
    for name, number in by_module.most_common(given.top):
        print(f"{number}\t{name}")


if __name__ == "__main__":
    main()

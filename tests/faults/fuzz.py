"""Random mutation of every file that protclip reads: what comes out is a result or one clean error.

Inputs are mutated bytes of small valid files. Each reader runs in forked processes, so that a
crash of compiled code or a hang is one finding like any other. For longer runs::

    python -m tests.faults.fuzz --seconds 600 --reader fasta
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

DATA = Path(__file__).parents[1] / "data"
#: Seconds that one input may take, and memory beyond what the process holds at its start.
SECONDS, MEMORY = 20, 2 << 30
#: Pieces that have broken readers before.
PIECES = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b"\t\t\t", b";", b",", b'"', b"'", b">",
    b"NaN", b"inf", b"-1", b"1e999", b"9" * 40, b"\x1b[2J", "\u202e".encode(), b"\\", b"{", b"}",
    b"[Term]\n", b"is_a: GO:0000001\n", b"#", b"!", b"NOT|", b"|", b":", b"/", b"A" * 5000,
    b"\t" * 500,
)  # fmt: skip


@dataclass
class Findings:
    """What a run found: inputs tried, and one line for each input that went wrong."""

    tried: int = 0
    wrong: list[str] = field(default_factory=list)


def mutations(seeds: list[bytes], start: int) -> Iterator[tuple[int, bytes]]:
    """Yield ``(number, content)`` without end; a number always gives the same content."""
    number = start
    while True:
        rng = random.Random(number)
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.choice((1, 1, 2, 4, 16))):
            at = rng.randrange(len(data) + 1)
            way = rng.randrange(7)
            if way == 0 and data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            elif way == 1:
                data[at:at] = rng.choice(PIECES)
            elif way == 2:
                del data[at : at + rng.choice((1, 1, 8, 200))]
            elif way == 3:
                data[at : at + 8] = rng.randbytes(8)
            elif way == 4:
                other = rng.choice(seeds)
                cut = rng.randrange(len(other) + 1)
                data[at:] = other[cut:]
            elif way == 5:
                end = min(len(data), at + rng.randrange(1, 300))
                data[at:at] = data[at:end] * rng.choice((1, 2, 20))
            else:
                del data[at:]
        yield number, bytes(data)
        number += 1


def run(
    read: Callable[[Path], object], seeds: list[bytes], seconds: float, ending: str
) -> Findings:
    """Read mutated files for some seconds, at least once; see `Findings`."""
    until, findings, start = time.monotonic() + seconds, Findings(), 0
    with tempfile.TemporaryDirectory() as folder:
        place = mmap.mmap(-1, 16)
        while start == 0 or time.monotonic() < until:
            place[:16] = struct.pack("<qq", start, 0)
            child = os.fork()
            if child == 0:
                _child(read, seeds, start, until, place, Path(folder), ending)
            state = _wait(child, place)
            number, done = struct.unpack("<qq", place[:16])
            findings.tried += done
            if state != 0:
                reason = (
                    (Path(folder) / "wrong").read_text() if state == 256 else f"ended by {state}"
                )
                findings.wrong.append(f"input {number}: {reason}")
            start = number + 1
            if len(findings.wrong) > 20:
                break
    return findings


def _wait(child: int, place: mmap.mmap) -> int:
    """Wait for a child that must come to another input within `SECONDS`; its wait status."""
    last, since = -1, time.monotonic()
    while True:
        pid, state = os.waitpid(child, os.WNOHANG)
        if pid:
            return state
        number = struct.unpack("<q", place[:8])[0]
        if number != last:
            last, since = number, time.monotonic()
        elif time.monotonic() - since > SECONDS:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return signal.SIGALRM
        time.sleep(0.01)


def _child(read, seeds, start, until, place, folder, ending):
    from protclip_core.errors import ProtclipError

    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    warnings.simplefilter("ignore")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    path = folder / f"x{ending}"
    for number, data in mutations(seeds, start):
        place[:16] = struct.pack("<qq", number, number - start + 1)
        path.write_bytes(data)
        try:
            read(path)
        except ProtclipError as error:
            if "\n" in str(error) or not str(error).isprintable():
                (folder / "wrong").write_text(f"not one printable line: {str(error)[:200]!r}")
                os._exit(1)
        except BaseException:  # noqa: BLE001 (a finding, whatever it is)
            (folder / "wrong").write_text(traceback.format_exc(limit=-3))
            os._exit(1)
        if time.monotonic() > until:
            os._exit(0)


def _small_store(path: Path, layout: str) -> bytes:
    import numpy as np

    from protclip_core.store.writer import StoreWriter

    rng = np.random.default_rng(0)
    attributes = {"created_by": "fuzz", "model": "tiny", "weights_sha256": "ab" * 32}
    form = "per-protein" if layout == "per-protein" else "packed"
    residues = layout == "residues"
    with StoreWriter(
        path, 8, "float32", attributes, per_residue=residues, layout=form, num_proteins=3
    ) as writer:
        lengths = np.array([4, 2, 3])
        writer.write(
            ["a", "b", "sp|P1|c"],
            rng.normal(size=(3, 8)).astype(np.float32),
            lengths,
            np.zeros(3, np.int64),
            np.arange(96, dtype=np.uint8).reshape(3, 32),
            rng.normal(size=(9, 8)).astype(np.float32) if residues else None,
        )
    return path.read_bytes()


def _read_store(path: Path) -> None:
    from protclip_core.store.reader import EmbeddingStore
    from protclip_core.store.tools import verify_store

    verify_store(path)
    with EmbeddingStore.open(path) as store:
        store.read(slice(None))
        if store.per_residue:
            for id in store.ids:
                store.residues(id)


def readers() -> dict[str, tuple[Callable[[Path], object], list[bytes], str]]:
    """Return ``name -> (reader, valid files, ending)``."""
    from protclip_core.heads.files import load_head
    from protclip_core.io.fasta import read_fasta
    from protclip_core.io.labels import read_labels
    from protclip_core.io.pairs.lists import read_pair_blocks
    from protclip_core.io.pairs.table import read_pair_table
    from protclip_core.io.phrases import read_phrases
    from protclip_core.io.variants.files import read_variants
    from protclip_core.ontology.obo import read_obo
    from protclip_core.ontology.reference import read_annotations
    from protclip_core.weights.bundle import open_bundle

    ontology = read_obo(DATA / "ontology/small.obo")
    row = "UniProtKB\tP{}\tp\t{}\tGO:000000{}\tPMID:1\t{}\t\t{}\t"
    row += "n\t\tprotein\ttaxon:1\t20200101\tX\t\t\n"
    lines = [
        row.format(1, "involved_in", 3, "IDA", "P"),
        row.format(2, "NOT|enables", 2, "IEA", "F"),
    ]
    gaf = "".join(["!gaf-version: 2.2\n", *lines]).encode()
    tables = [b"protein\tterm\nP1\tGO:0000003\nP2\tGO:0000002\n", b"P1\tGO:0000003\n"]
    with tempfile.TemporaryDirectory() as folder:
        stores = [
            _small_store(Path(folder) / f"{layout}.h5", layout)
            for layout in ("packed", "residues", "per-protein")
        ]

    def bundle(path: Path) -> None:
        target = path.with_name("bundle")
        target.mkdir(exist_ok=True)
        (target / "manifest.json").write_bytes(path.read_bytes())
        (target / "config.json").write_bytes(path.read_bytes())
        open_bundle(target)

    variants = [b"A1V\nG2D:K3del\np.(Arg4Ter)\n", b"protein\tmutant\tscore\na\tA1V\t0.5\n"]
    variants += [b'{"protein": "a", "variant": "A1V"}\n', *_files("variants/*.vcf")]
    pairs = [b"a\tb\t1\nb\tc\t0\n", b"protein1 protein2 combined_score\n9606.E1 9606.E2 900\n"]
    fasta = [b">a one\nMKTAYIAKQR\nQISFVK*\n>b\nMKV\n", b">c\r\nMKTX\r\n;x\r\n>d|e\r\nMk-v\r\n"]
    labels = [b"protein_id\tlabel\na\tx\nb\ty;z\n"]
    labels += [b"protein_id\tlabel\tsplit\na\t1.5\ttrain\nb\t2\ttest\n"]
    mini = Path(__file__).parents[2] / "protclip_core/bundled/protclip-mini"
    cards = [(mini / name).read_bytes() for name in ("manifest.json", "config.json")]
    return {
        "fasta": (lambda p: list(read_fasta(p, on_failure=lambda _: None)), fasta, ".fa"),
        "store": (_read_store, stores, ".h5"),
        "head": (load_head, [(mini / "ppi.head").read_bytes()], ".head"),
        "variants": (lambda p: list(read_variants(p)), variants, ".tsv"),
        "obo": (read_obo, _files("ontology/small.obo"), ".obo"),
        "gaf": (lambda p: read_annotations(p, ontology), [gaf, *tables], ".gaf"),
        "pairs": (lambda p: list(read_pair_blocks(p)), pairs, ".tsv"),
        "pair table": (
            read_pair_table,
            [b"protein1\tprotein2\tscore\nx\ty\t0.5\ny\tz\t0.25\n"],
            ".tsv",
        ),
        "labels": (read_labels, labels, ".tsv"),
        "phrases": (read_phrases, [b"kinase\nGO:1\tzinc transporter\n\nx\n"], ".txt"),
        "bundle": (bundle, cards, ".json"),
    }


def _files(pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(DATA.glob(pattern))]


def main(argv: list[str] | None = None) -> int:
    """Run the readers that are named, or all, and print a line each."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each reader")
    parser.add_argument("--reader", action="append", help="name; default all")
    args = parser.parse_args(argv)
    bad = 0
    for name, (read, seeds, ending) in readers().items():
        if args.reader and name not in args.reader:
            continue
        found = run(read, seeds, args.seconds, ending)
        bad += len(found.wrong)
        print(f"{name}: {found.tried:,} inputs, {len(found.wrong)} wrong", flush=True)
        for line in found.wrong:
            print(f"  {line}", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())

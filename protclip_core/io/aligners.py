"""Similar sequences found by an aligner that the user has: DIAMOND or MMseqs2.

The aligner reads and writes files in a temporary folder. Sequences go there under numbers: an
aligner cuts ids apart as it sees fit, and protclip takes them as data. It runs in a process group
of its own, which ends with this process, however this one ends.

Written after the DIAMOND manual (https://github.com/bbuchfink/diamond/wiki) and the MMseqs2 user
guide (https://github.com/soedinglab/MMseqs2/wiki).
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from protclip_core.errors import ResourceError, UsageError, WorkerLostError
from protclip_core.io.atomic import disk_error
from protclip_core.records import printable

__all__ = [
    "ALIGNERS",
    "LEAST_COVERAGE",
    "MOST_HITS",
    "Aligner",
    "Hit",
    "align",
    "find_aligner",
    "parse_hits",
]

_log = logging.getLogger(__name__)

#: Programs, the preferred one first.
ALIGNERS = ("diamond", "mmseqs")
#: Hits of a query that an aligner is asked for; transfer takes the best few.
MOST_HITS = 300
#: A hit that covers less of the query, in percent, is by default not taken for a relative.
LEAST_COVERAGE = 10.0
#: Greatest e-value of a hit.
MOST_EVALUE = 1e-3
#: Of MMseqs2, its highest preset: what is transferred from afar is the point.
_SENSITIVITY = "7.5"
_VERSION_SECONDS = 60.0
_SHOWN = 300
#: The aligner takes the place of the shell. What waits beside it in the same process group reads a
#: pipe that nobody writes to: its end is the end of this process, and then that of the group.
_GUARD = 'exec 3<&0; (read -r _ <&3; kill -9 0) >/dev/null 2>&1 & exec "$@" 3<&- </dev/null'


@dataclass(frozen=True)
class Aligner:
    """A program that is here.

    Attributes
    ----------
    name
        Of `ALIGNERS`.
    path
        The executable.
    version
        As it tells it, without its own name.
    """

    name: str
    path: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Hit(NamedTuple):
    """One alignment.

    Attributes
    ----------
    query, target
        Numbers of the sequences, from 0.
    identity
        Percent of identical residues in the alignment.
    evalue, bits
        As the aligner has them.
    coverage
        Percent of the query that is aligned.
    """

    query: int
    target: int
    identity: float
    evalue: float
    bits: float
    coverage: float


def find_aligner(asked: str = "auto") -> Aligner:
    """Find an aligner on the path.

    Parameters
    ----------
    asked
        Of `ALIGNERS`, or ``auto``: the first of them that is there.

    Raises
    ------
    UsageError
        An unknown name, or none on the path.
    WorkerLostError
        It is there and cannot say its version.
    """
    if asked != "auto" and asked not in ALIGNERS:
        hint = f"use auto, {' or '.join(ALIGNERS)}"
        raise UsageError(f"aligner {asked!r} is not known", code="usage.unknown_value", hint=hint)
    for name in ALIGNERS if asked == "auto" else (asked,):
        if (path := shutil.which(name)) is not None:
            with tempfile.TemporaryDirectory(prefix="protclip-") as folder:
                told = _run(name, [path, "version"], Path(folder), timeout=_VERSION_SECONDS)
            version = told.strip().splitlines()[-1] if told.strip() else "unknown"
            return Aligner(name, path, printable(version.removeprefix(f"{name} version "), 80))
    missing = "neither diamond nor mmseqs is" if asked == "auto" else f"{asked} is not"
    raise UsageError(
        f"{missing} on the path",
        code="usage.no_aligner",
        hint="install one, such as with: conda install -c bioconda diamond; or use --neighbours",
    )


def align(
    aligner: Aligner,
    queries: Iterable[str],
    references: Iterable[str],
    *,
    threads: int | None = None,
    most: int = MOST_HITS,
) -> list[Hit]:
    """Search sequences among others.

    Parameters
    ----------
    aligner
        From `find_aligner`.
    queries, references
        Residues; taken one at a time and kept in files of a temporary folder.
    threads
        Of the aligner; None as it sees fit, which is one a core.
    most
        Hits of a query to keep; memory grows with them, not with what the aligner finds. More
        than `MOST_HITS` it does not look for.

    Returns
    -------
    list
        By query, the highest bit score first, then by number of the target; a target once for
        each query. Nothing for no queries or no references.

    Raises
    ------
    WorkerLostError
        The aligner ended with an error; its last line is in the message.
    InputError
        It wrote something that is not a table of hits.
    ResourceError
        The temporary folder cannot hold the sequences.
    """
    with tempfile.TemporaryDirectory(prefix="protclip-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        try:
            counts = [
                _write(folder / "query.fa", queries),
                _write(folder / "reference.fa", references),
            ]
        except OSError as error:
            raise disk_error(error, folder) from error
        if not all(counts):
            return []
        for command in _commands(aligner, folder, threads):
            _run(aligner.name, command, folder)
        found = folder / "hits.tsv"
        if not found.is_file():
            raise WorkerLostError(
                "ended without a table of hits", code="worker.aligner_failed", where=aligner.name
            )
        with found.open(encoding="utf-8", errors="replace") as lines:
            return _best(parse_hits(lines, aligner.name, counts[0], counts[1]), most)


def parse_hits(lines: Iterable[str], name: str, queries: int, references: int) -> Iterator[Hit]:
    """Read a table of hits: query, target, identity, e-value, bit score, coverage of the query.

    Identity and coverage are percents; MMseqs2 gives the coverage as a share.

    Parameters
    ----------
    lines
        Tab-separated, without a header.
    name
        Of the aligner.
    queries, references
        How many sequences there are.

    Raises
    ------
    WorkerLostError
        A line that no such table has, by its number.
    """
    scale = 100.0 if name == "mmseqs" else 1.0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        fields = line.rstrip("\r\n").split("\t")
        try:
            if len(fields) != 6:
                raise ValueError(f"{len(fields)} columns, not 6")
            query, target = int(fields[0]), int(fields[1])
            identity, evalue, bits, coverage = map(float, fields[2:])
            if not (0 <= query < queries and 0 <= target < references):
                raise ValueError("a sequence that was not given")
            if not (0 <= identity <= 100 and evalue >= 0 and 0 < bits < float("inf")):
                raise ValueError("a score out of range")
        except ValueError as error:
            raise WorkerLostError(
                f"wrote a line that is not a hit ({printable(str(error), 80)})",
                code="worker.aligner_failed",
                where=f"{name}: hits.tsv:line {number}",
                hint="use another version, or the other aligner with --aligner",
            ) from error
        yield Hit(query, target, identity, evalue, bits, coverage * scale)


def _best(hits: Iterable[Hit], most: int) -> list[Hit]:
    """Keep the best hit of each pair, and the best pairs of each query, sorted."""
    found: dict[int, dict[int, Hit]] = {}
    for hit in hits:
        own = found.setdefault(hit.query, {})
        if hit.target not in own or own[hit.target].bits < hit.bits:
            own[hit.target] = hit
        if len(own) > 2 * most:
            found[hit.query] = {one.target: one for one in _first(own, most)}
    return [hit for query in sorted(found) for hit in _first(found[query], most)]


def _first(hits: dict[int, Hit], most: int) -> list[Hit]:
    return sorted(hits.values(), key=lambda one: (-one.bits, one.target))[:most]


def _commands(aligner: Aligner, folder: Path, threads: int | None) -> list[list[str]]:
    """Return the command lines of a search."""
    query, reference = str(folder / "query.fa"), str(folder / "reference.fa")
    hits, work = str(folder / "hits.tsv"), folder / "work"
    work.mkdir()
    cores = [] if threads is None else ["--threads", str(threads)]
    most, evalue = str(MOST_HITS), f"{MOST_EVALUE:g}"
    if aligner.name == "diamond":
        # Its own database: only newer versions take FASTA there.
        database = str(folder / "reference.dmnd")
        make = ["makedb", "--in", reference, "--db", database, *cores]
        search = ["blastp", "--query", query, "--db", database, "--out", hits]
        search += ["--outfmt", "6", "qseqid", "sseqid", "pident", "evalue", "bitscore", "qcovhsp"]
        search += ["--max-target-seqs", most, "--evalue", evalue, "--more-sensitive"]
        search += ["--tmpdir", str(work), *cores]
        return [[aligner.path, *make], [aligner.path, *search]]
    search = ["easy-search", query, reference, hits, str(work)]
    search += ["--format-output", "query,target,pident,evalue,bits,qcov"]
    search += ["-s", _SENSITIVITY, "--max-seqs", most, "-e", evalue, "-v", "1", *cores]
    return [[aligner.path, *search]]


def _write(path: Path, sequences: Iterable[str]) -> int:
    """Write FASTA with numbers for ids; return how many."""
    number = -1
    with path.open("w", encoding="ascii") as file:
        for number, sequence in enumerate(sequences):
            file.write(f">{number}\n{sequence}\n")
    return number + 1


def _run(name: str, command: list[str], folder: Path, timeout: float | None = None) -> str:
    """Run a program to its end and return what it wrote to standard output."""
    _log.debug("%s", " ".join(command))
    said, failed = folder / "stdout", folder / "stderr"
    with said.open("wb") as out, failed.open("wb") as err:
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                cwd=folder,
                start_new_session=True,
            )
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ResourceError(
                f"cannot be started ({reason})", code="resource.cannot_start", where=name
            ) from error
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            message = f"gave no answer to '{command[1]}' in {timeout:g} s"
            raise WorkerLostError(message, code="worker.aligner_failed", where=name) from error
        finally:
            # Whoever of its group is left: all of it where this run was interrupted.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
    if code != 0:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        reason = _last_line(failed) or _last_line(said) or "without a word"
        raise WorkerLostError(
            f"{how}: {reason}", code="worker.aligner_failed", where=f"{name} {command[1]}"
        )
    return said.read_text("utf-8", errors="replace")


def _last_line(path: Path) -> str:
    """Return the last line with something in it, of a length to be shown."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 10_000))
        lines = file.read().decode("utf-8", errors="replace").split("\n")
    # A progress bar redraws its line.
    shown = [line.rstrip("\r").rpartition("\r")[2].strip() for line in lines]
    return printable(next((line for line in reversed(shown) if line), ""), _SHOWN)

"""The table of ``docs/explain.md`` is what the program prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.environment import patient

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.full
def test_the_example_is_true() -> None:
    text = (ROOT / "docs" / "explain.md").read_text()
    (block,) = re.findall(r"^```\n(term .*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    shown = [re.split(r"\s{2,}", line.strip()) for line in block.splitlines()[1:]]
    example = ROOT / "protclip_core" / "bundled" / "example.fasta"
    options = ["--go", "--aspect", "MF", "--specific", "--explain", "--format", "tsv"]
    done = subprocess.run(
        [sys.executable, "-m", "protclip_cli", "annotate", str(example), *options],
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    header, *lines = [line.split("\t") for line in done.stdout.splitlines()]
    rows = [dict(zip(header, line)) for line in lines if line[0] == "sp|P99999|CYC_HUMAN"]
    assert len(shown) == 4
    for row, (term, name, cosine, *rest) in zip(rows, shown):
        assert (row["term"], row["name"]) == (term, name)
        assert abs(float(row["cosine"]) - float(cosine)) < 1e-4
        assert row["residues"] == (rest[0] if rest else "")
        if rest:
            assert abs(float(row["cosine_without"]) - float(rest[1])) < 1e-4

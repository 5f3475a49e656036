"""``protclip annotate --ec --location --keywords --vocab --label`` at the shell."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.terminal import one_error

COLUMNS = ["protein_id", "term", "name", "aspect", "cosine", "probability", "rank", "go_release"]


@pytest.fixture
def annotate(protclip, tmp_path):
    """``annotate(*arguments)`` in ``tmp_path`` with the default model and a cache of its own."""
    cache = {**os.environ, "PROTCLIP_CACHE": str(tmp_path / "cache")}

    def annotate(*arguments, **options):
        return protclip("annotate", *arguments, cwd=tmp_path, env=cache, **options)

    return annotate


def table(text):
    header, *lines = [line.split("\t") for line in text.splitlines()]
    assert header == COLUMNS
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_all_of_them_from_a_pipe(annotate, fasta, tmp_path):
    text = fasta(4).read_bytes()
    (tmp_path / "my.txt").write_text("a\tzinc transporter\nb\tkinase\n")
    asked = ["--label", "toxin", "--vocab", "my.txt", "--keywords", "--location", "--ec", "--go"]
    done = annotate(*asked, "--top-k", "2", stdin=text)
    assert done.rc == 0
    rows = table(done.out)
    aspects = ["MF", "MF", "BP", "BP", "CC", "CC", "EC", "EC", "LOCATION", "LOCATION"]
    aspects += ["KEYWORD", "KEYWORD", "my", "my", "LABEL"]
    assert [row["aspect"] for row in rows] == aspects * 4
    ids = list(dict.fromkeys(row["protein_id"] for row in rows))
    assert [row["protein_id"] for row in rows] == [id for id in ids for _ in aspects]
    for row in rows:
        is_go = row["term"].startswith("GO:")
        assert (row["go_release"] != "") == is_go
        assert (row["probability"] == "") == (row["aspect"] in ("my", "LABEL"))
        assert row["name"]
    assert {row["term"] for row in rows if row["aspect"] == "my"} == {"a", "b"}
    (warning,) = [line for line in done.err.splitlines() if line.startswith("warning: ")]
    assert "my.txt and --label for model protclip-mini" in warning
    assert f"{len(rows)} terms of 4 of 4 proteins" in done.err
    # Alone, it is what it is together with others.
    assert annotate("--ec", "--top-k", "2", stdin=text).out == "".join(
        line + "\n" for line in done.out.splitlines() if line.split("\t")[3] in ("aspect", "EC")
    )


def test_bundled_vocabularies_need_no_text_encoder(fasta, tmp_path):
    path = fasta(2)
    code = (
        "import sys\n"
        "from protclip_cli.main import app\n"
        "try:\n"
        f"    app(['annotate', {str(path)!r}, '--ec', '--location', '--keywords'])\n"
        "finally:\n"
        "    bad = {'transformers', 'tokenizers'} & set(sys.modules)\n"
        "    assert not bad, bad\n"
    )
    cache = {**os.environ, "PROTCLIP_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=cache, check=False)
    assert (done.returncode, "AssertionError" in done.stderr) == (0, False), done.stderr
    assert done.stdout.startswith("protein_id\tterm\t")


def test_refusals(annotate, fasta, tmp_path):
    fasta(2)
    for form in ("gaf", "cafa", "topgo"):
        one_error(
            annotate("x.fa", "--ec", "--format", form),
            2,
            f"--format {form}",
            code="usage.conflicting_options",
        )
    one_error(annotate("x.fa", "--go", "--label", "x", "--format", "gaf"), 2, "--format gaf")
    one_error(annotate("x.fa", "--ec", "--aspect", "MF"), 2, "--aspect is for GO alone")
    one_error(annotate("x.fa", "--keywords", "--slim", "s.txt"), 2, "--slim is for GO alone")
    one_error(annotate("x.fa", "--label", " "), 2, "a label is blank")
    one_error(annotate("x.fa", "--label", "kinase", "--fdr", "0.1"), 2, "--label: --fdr needs prob")
    one_error(annotate("x.fa", "--vocab", "none.txt"), 3, "none.txt: no such file")
    (tmp_path / "empty.txt").write_text("\n")
    one_error(annotate("x.fa", "--vocab", "empty.txt"), 3, "empty.txt", "has no text")
    one_error(annotate("--vocab", "-", stdin=b"zinc\n"), 2, code="usage.stdin_twice")
    one_error(annotate("x.fa"), 2, "nothing to annotate with", "--go, --ec")


def test_a_model_tells_of_its_vocabularies(protclip):
    lines = protclip("models", "info", "protclip-mini", "--format", "tsv").out.splitlines()
    facts = dict(line.split("\t") for line in lines)
    assert "terms, calibrated" in facts["GO index"]
    for name in ("ec", "location", "keywords"):
        assert facts[f"vocabulary {name}"].endswith("terms, calibrated")

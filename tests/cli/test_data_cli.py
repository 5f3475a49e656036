"""``protclip data go``: a release fetched, an index made, and used."""

from __future__ import annotations

import os

import pytest

from protclip_core.terms.index_file import add_to_bundle, read_go_index
from protclip_core.weights.bundle import open_bundle
from tests.support.go_indexes import index_of
from tests.support.local_server import VARIABLES, local_server
from tests.support.ontology_files import SMALL
from tests.support.terminal import one_error
from tests.unit.models.dual import Dual


@pytest.fixture
def data(protclip, tmp_path):
    """``data(*arguments)``: the program with a cache folder of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= {"PROTCLIP_CACHE": str(tmp_path / "cache"), "PROTCLIP_TIMEOUT": "5"}

    def data(*arguments, command=("data", "go")):
        return protclip(*command, *arguments, cwd=tmp_path, env=environment)

    return data


def test_a_release_is_fetched_and_told(data, tmp_path):
    kept = tmp_path / "cache/go/go-basic.obo"
    with local_server() as server:
        url = server.serve("/go-basic.obo", SMALL.read_bytes())
        done = data("pull", "--url", url)
        assert (done.rc, done.out) == (0, "")
        assert f"{kept}: GO release 2024-01-17, 26 terms" in done.err
        assert kept.read_bytes() == SMALL.read_bytes()
        # Another release comes only when it is asked for.
        later = SMALL.read_bytes().replace(b"2024-01-17", b"2025-03-04")
        server.serve("/go-basic.obo", later)
        assert "release 2024-01-17" in data("pull", "--url", url).err
        assert len(server.requests) == 1
        assert "release 2025-03-04" in data("pull", "--url", url, "--force").err
        # What is no release of GO takes no place, and leaves nothing.
        server.serve("/go-basic.obo", b"format-version: 1.2\n\n[Term]\nid: GO:0000001\n")
        broken = data("pull", "--url", url, "--force")
        assert (broken.rc, broken.out) == (4, "")
        assert "GO:0000001" in broken.err and broken.err.endswith("[model.truncated]\n")
        server.serve("/page", b"<!doctype html><html>")
        page = data("pull", "--url", server.url + "/page", "--force")
        assert (page.rc, page.out) == (4, "") and "web page" in page.err
    assert kept.read_bytes() == later
    assert [path.name for path in kept.parent.iterdir() if "new" in path.name] in (
        [],
        [".go-basic.obo.new.lock"],
    )


def test_an_index_is_made_and_used(data, fasta, tmp_path):
    folder = Dual().write(tmp_path / "dual")
    fasta(3)
    annotate = ("annotate", "--go", "x.fa", "--model", folder, "--top-k", "2")
    one_error(data(command=annotate), 4, "has no GO index")
    one_error(data("build", "--model", folder), 2, "protclip data go pull")
    done = data("build", SMALL, "--model", folder)
    assert done.rc == 0, done.err
    assert "26 terms of GO release 2024-01-17, without probabilities" in done.err
    assert "use it with" not in done.err
    found = data(command=annotate)
    assert found.rc == 0
    assert "no probabilities" in found.err
    rows = [line.split("\t") for line in found.out.splitlines()[1:]]
    assert len(rows) == 18
    assert {row[5] for row in rows} == {""}
    # What was pulled is taken where no file is given.
    (tmp_path / "cache/go/go-basic.obo").write_bytes(SMALL.read_bytes())
    assert data("build", "--model", folder, "--template", "name", "-o", "my.npz").rc == 0
    assert read_go_index(tmp_path / "my.npz").template == "name"


@pytest.mark.full
def test_a_model_with_an_index_hands_its_calibration_on(data, tmp_path):
    folder = Dual().write(tmp_path / "dual")
    first = index_of(folder)
    add_to_bundle(first, open_bundle(folder))
    done = data("build", SMALL, "--model", folder, "-o", "my.npz")
    assert "with probabilities" in done.err
    assert "--go-index my.npz" in done.err
    made = read_go_index(tmp_path / "my.npz")
    assert (made.calibration, made.template) == (first.calibration, "both")
    assert (
        "without probabilities"
        in data(
            "build", SMALL, "--model", folder, "-o", "my.npz", "--overwrite", "--template", "name"
        ).err
    )


def test_refusals(data, tiny_bundle, tmp_path):
    one_error(data("build", SMALL, "--model", tiny_bundle), 2, "takes no texts")
    folder = Dual().write(tmp_path / "dual")
    one_error(data("build", SMALL, "--model", folder, "--template", "x"), 2, "template 'x'")
    (tmp_path / "bad.obo").write_text("nothing\n")
    one_error(data("build", "bad.obo", "--model", folder), 4, "bad.obo")
    (tmp_path / "my.npz").write_text("kept")
    one_error(
        data("build", SMALL, "--model", folder, "-o", "my.npz"),
        2,
        "my.npz",
        code="usage.output_exists",
    )
    assert (tmp_path / "my.npz").read_text() == "kept"

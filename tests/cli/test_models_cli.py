"""``protclip models`` at the shell: what is listed, fetched, imported, checked and removed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pty
import shutil
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest

from protclip_core.store.reader import EmbeddingStore
from tests.support.checkpoints import write_esm2, write_fair_esm, write_official, write_pubmedbert
from tests.support.helpers import random_proteins, write_fasta
from tests.support.local_server import forget_network, local_server
from tests.support.terminal import one_error


@pytest.fixture
def models(protclip, tmp_path):
    """``models(*arguments)``: ``protclip models …`` with a cache of its own."""

    def models(*arguments, env=None, **options):
        cache = {"PROTCLIP_CACHE": tmp_path / "cache"}
        return protclip("models", *arguments, env=cache | (env or {}), cwd=tmp_path, **options)

    return models


@pytest.fixture
def server(monkeypatch):
    forget_network(monkeypatch)
    with local_server() as running:
        yield running


def zipped(folder):
    """The content of a folder as a zip file, in a folder of its own."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"a-model/{path.name}")
    return data.getvalue()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def facts_of(outcome):
    assert outcome.rc == 0, outcome
    return dict(line.split("\t") for line in outcome.out.splitlines()[1:])


def test_list_names_what_is_here_and_what_can_be_had(models):
    done = models("list")
    assert (done.rc, done.err) == (0, "")
    header, *rows = [line.split("\t") for line in done.out.splitlines()]
    assert header == ["name", "state", "contents", "parameters", "MB", "license", "summary"]
    states = {row[0]: row[1] for row in rows}
    assert states["protclip-mini"] == "bundled"
    assert {states[n] for n in ("protclip-650m", "esm2-650m", "pubmedbert")} == {"available"}
    assert [line.split("\t")[0] for line in models("list", "--installed").out.splitlines()] == [
        "name",
        "protclip-mini",
    ]


def test_info_of_a_bundled_and_of_an_available_model(models):
    facts = facts_of(models("info", "protclip-mini"))
    assert facts["contents"] == "protein, structure and text"
    assert len(facts["weights sha256"]) == 64
    card = models("info", "protclip-mini", "--card")
    assert card.out.startswith("# protclip-mini")
    facts = facts_of(models("info", "esm2-650m"))
    assert facts["state"] == "available: protclip models pull esm2-650m"
    assert facts["license"] == "MIT"
    one_error(models("info", "esm2-65m"), 4, "did you mean esm2-650m?")


def test_path_is_that_of_the_model(models, tmp_path, tiny_bundle):
    done = models("path", "protclip-mini")
    assert (done.rc, done.err) == (0, "")
    assert done.out.endswith("/bundled/protclip-mini\n")
    models("import", tiny_bundle, "--name", "small")
    assert models("path", "small").out == f"{tmp_path}/cache/models/small\n"


@pytest.mark.full
def test_the_official_release_is_imported_and_used(models, protclip, tmp_path):
    write_official(tmp_path / "official")
    done = models("import", "official", "--name", "mine", "--license", "as its authors say")
    assert (done.rc, done.out) == (0, ""), done
    assert "official ProtCLIP checkpoint" in done.err
    assert "left out (not needed; see the model card)" in done.err
    facts = facts_of(models("info", "mine"))
    assert facts["contents"] == "protein and text"
    assert facts["residue heads"] == "mlm, segments, prototypes"
    assert (facts["license"], facts["source"]) == ("as its authors say", "official")
    write_fasta(tmp_path / "x.fa", random_proteins(5))
    cache = {"PROTCLIP_CACHE": tmp_path / "cache"}
    arguments = ["embed", "x.fa", "--model", "mine", "--space", "joint"]
    assert protclip(*arguments, cwd=tmp_path, env=cache).rc == 0
    with EmbeddingStore.open(tmp_path / "x.h5") as store:
        norms = np.linalg.norm(store.read(slice(None)), axis=1)
    assert np.abs(norms - 1).max() < 1e-6


def test_a_checkpoint_without_its_vocabulary_says_how_to_get_one(models, tmp_path):
    write_official(tmp_path / "official")
    (tmp_path / "official" / "vocab.txt").rename(tmp_path / "vocab.txt")
    one_error(models("import", "official", "--name", "mine"), 4, "--tokenizer")
    done = models("import", "official", "--name", "mine", "--tokenizer", "vocab.txt")
    assert done.rc == 0, done


def test_a_name_of_fair_esm_is_found_in_the_cache_of_torch(models, tmp_path):
    (tmp_path / "torch/hub/checkpoints").mkdir(parents=True)
    write_fair_esm(tmp_path / "torch/hub/checkpoints/esm2_t2_mini.pt")
    home = {"TORCH_HOME": tmp_path / "torch"}
    done = models("import", "esm2_t2_mini", "--name", "esm", env=home)
    assert done.rc == 0, done
    assert facts_of(models("info", "esm"))["source"] == "esm2_t2_mini.pt"
    one_error(
        models("import", "esm2_t3_mini", "--name", "b", env=home), 2, code="usage.no_such_file"
    )


def test_a_text_encoder_embeds_no_proteins(models, protclip, tmp_path):
    write_pubmedbert(tmp_path / "bert")
    assert models("import", "bert", "--name", "words").rc == 0
    assert facts_of(models("info", "words"))["contents"] == "text"
    write_fasta(tmp_path / "x.fa", random_proteins(2))
    cache = {"PROTCLIP_CACHE": tmp_path / "cache"}
    done = protclip("embed", "x.fa", "--model", "words", cwd=tmp_path, env=cache)
    one_error(done, 2, "words is a text encoder")


def test_names_that_are_taken_or_cannot_be(models, tiny_bundle):
    assert models("import", tiny_bundle, "--name", "small").rc == 0
    one_error(models("import", tiny_bundle, "--name", "small"), 2, "installed", "--force")
    assert models("import", tiny_bundle, "--name", "small", "--force").rc == 0
    for name in ("../up", "a/b", ".hidden", "", "x" * 81):
        one_error(models("import", tiny_bundle, "--name", name), 2, code="usage.bad_model_name")
    one_error(models("import", tiny_bundle, "--name", "protclip-mini"), 2, "bundled")
    one_error(models("pull", "esm3-9b"), 2, "catalog", "--from")
    one_error(models("pull", "x", "--from", "ftp://a.b/c"), 2, "ftp://a.b/c")


def test_the_catalog_speaks_only_of_what_came_from_there(models, tmp_path):
    write_esm2(tmp_path / "esm")
    # As an earlier release installed it: an import is compared with the catalog today.
    one_error(models("import", "esm", "--name", "esm2-650m"), 4, code="model.hash_mismatch")
    assert models("import", "esm", "--name", "mine").rc == 0
    (tmp_path / "cache/models/mine").rename(tmp_path / "cache/models/esm2-650m")
    one_error(models("pull", "esm2-650m"), 2, code="usage.name_taken")
    (row,) = [r for r in models("list").out.splitlines() if r.startswith("esm2-650m\t")]
    _name, state, _contents, parameters, _size, license, summary = row.split("\t")
    assert (state, license, summary) == ("installed", "", "from esm")
    assert 1000 < int(parameters) < 1_000_000
    one_error(models("import", "esm", "--name", "ESM2-8M"), 2, "differs from esm2-8m only by case")


@pytest.mark.full
def test_what_strangers_wrote_draws_no_extra_rows_and_no_escapes(models, tmp_path, tiny_bundle):
    models("import", tiny_bundle, "--name", "small")
    write_esm2(tmp_path / "esm")
    models("import", "esm", "--name", "b", "--license", "MIT\tx\nrow\t2")
    lines = models("list", "--installed").out.splitlines()
    assert [line.split("\t")[0] for line in lines[1:]] == ["protclip-mini", "b", "small"]
    assert all(line.count("\t") == lines[0].count("\t") for line in lines)
    card = tmp_path / "cache/models/b/MODEL_CARD.md"
    card.write_bytes(b"\xff\x1b]0;title\x07\n")
    assert "\x1b" not in on_terminal_out(tmp_path, ["models", "info", "b", "--card"])


def on_terminal_out(tmp_path, arguments):
    """Standard output of the program as a terminal gets it."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PROTCLIP_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "protclip_cli", *arguments],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=environment,
        check=False,
    )
    os.close(theirs)
    text = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.returncode == 0, done.stderr
    return text


def test_verify_finds_a_flipped_byte_and_names_it(models, tmp_path, tiny_bundle):
    models("import", tiny_bundle, "--name", "one")
    models("import", tiny_bundle, "--name", "two")
    assert models("verify").rc == 0
    weights = tmp_path / "cache/models/two/model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    done = models("verify")
    assert done.rc == 4
    bad = [line for line in done.out.splitlines() if not line.endswith("\tsound")][1:]
    assert [line.split("\t")[:2] for line in bad] == [["two", "model.safetensors"]]
    assert "error: two: model.safetensors: sha256 mismatch, expected " in done.err
    (tmp_path / "cache/models/one/extra.bin").write_bytes(b"x")
    assert "extra.bin\tis not in the manifest" in models("verify", "one").out


def test_a_damaged_model_is_listed_as_such_and_can_be_removed(models, tmp_path, tiny_bundle):
    models("import", tiny_bundle, "--name", "mine")
    (tmp_path / "cache/models/mine").rename(tmp_path / "cache/models/esm2-8m")
    (tmp_path / "cache/models/esm2-8m/config.json").write_text("{}")
    (row,) = [r for r in models("list").out.splitlines() if r.startswith("esm2-8m\t")]
    assert row.split("\t")[1] == "damaged"
    one_error(models("info", "esm2-8m"), 4, "sha256 mismatch")
    one_error(models("pull", "esm2-8m"), 4, "is damaged", "pull esm2-8m --force")
    (tmp_path / "cache/models/esm2-8m/manifest.json").unlink()
    assert "esm2-8m\tdamaged" in models("list").out
    assert models("remove", "esm2-8m").rc == 0
    assert not (tmp_path / "cache/models/esm2-8m").exists()


def test_a_model_behind_a_link_loses_the_link_only(models, tmp_path, tiny_bundle):
    (tmp_path / "cache/models").mkdir(parents=True)
    shutil.copytree(tiny_bundle, tmp_path / "elsewhere")
    (tmp_path / "cache/models/small").symlink_to(tmp_path / "elsewhere")
    assert models("verify", "small").rc == 0
    assert models("import", tiny_bundle, "--name", "small", "--force").rc == 0
    assert not (tmp_path / "cache/models/small").is_symlink()
    shutil.rmtree(tmp_path / "cache/models/small")
    (tmp_path / "cache/models/small").symlink_to(tmp_path / "elsewhere")
    assert models("remove", "small").rc == 0
    assert not (tmp_path / "cache/models/small").is_symlink()
    assert (tmp_path / "elsewhere/manifest.json").exists()


def test_remove_takes_only_what_was_installed(models):
    one_error(models("remove", "protclip-mini"), 2, "belongs to protclip itself")
    one_error(models("remove", "nothing"), 2, "no model named nothing is installed")


def test_pull_from_a_url_and_again(models, server, tmp_path, tiny_bundle):
    data = zipped(tiny_bundle)
    url = server.serve("/model.zip", data)
    arguments = ["pull", "small", "--from", url, "--sha256", sha256(data)]
    done = models(*arguments)
    assert (done.rc, done.out) == (0, ""), done
    licence, what, *_, installed = done.err.splitlines()
    assert licence == "small: licence not known: see its publisher"
    assert what.endswith(f"from {url}#sha256={sha256(data)}")
    assert installed.endswith("use it with --model small")
    assert models("verify", "small").rc == 0
    # Nothing but the bundle is kept, and nothing is asked for again.
    assert not (tmp_path / "cache/downloads/small").exists()
    asked = len(server.requests)
    again = models(*arguments)
    assert again.rc == 0
    assert "already installed, and sound" in again.err
    assert len(server.requests) == asked


def test_another_source_is_not_answered_with_what_is_there(models, server, tiny_bundle):
    data = zipped(tiny_bundle)
    url = server.serve("/model.zip", data)
    assert models("pull", "small", "--from", url, "--sha256", sha256(data)).rc == 0
    wrong = ["pull", "small", "--from", url, "--sha256", "0" * 64]
    one_error(models(*wrong), 2, "small is installed from", sha256(data), "0" * 64, "--force")
    forced = models(*wrong, "--force")
    assert forced.rc == 4 and "sha256 mismatch" in forced.err
    assert models("verify", "small").rc == 0


def test_quiet_pull_says_nothing(protclip, server, tmp_path, tiny_bundle):
    data = zipped(tiny_bundle)
    url = server.serve("/model.zip", data)
    arguments = ["pull", "small", "--from", url, "--sha256", sha256(data)]
    done = protclip("-q", "models", *arguments, "--cache", tmp_path / "elsewhere")
    assert (done.rc, done.out, done.err) == (0, "", "")
    assert (tmp_path / "elsewhere/models/small/manifest.json").exists()


def test_a_url_without_a_hash_is_not_trusted(models, server, tiny_bundle):
    url = server.serve("/model.zip", zipped(tiny_bundle))
    one_error(models("pull", "small", "--from", url), 2, "--sha256")
    assert server.requests == []


def hub(server, folder, repo="lab/esm"):
    """Let the server be a hub with one repository."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    siblings = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        entry = {"rfilename": path.name, "size": len(data)}
        entry["blobId"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        if path.suffix == ".safetensors":
            entry["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 134}
        siblings.append(entry)
        server.serve(f"/{repo}/resolve/{commit}/{path.name}", data)
    record = {"id": repo, "modelId": repo, "sha": commit, "siblings": siblings, "tags": []}
    record["cardData"] = {"license": "mit"}
    for revision in ("main", commit):
        server.serve(f"/api/models/{repo}/revision/{revision}", record)
    return commit


def test_pull_from_a_hub(models, protclip, server, tmp_path):
    write_esm2(tmp_path / "esm")
    commit = hub(server, tmp_path / "esm")
    done = models("pull", "mine", "--from", "hub:lab/esm@main", env={"HF_ENDPOINT": server.url})
    assert (done.rc, done.out) == (0, ""), done
    assert f"from hub:lab/esm@{commit}" in done.err
    facts = facts_of(models("info", "mine"))
    assert facts["source"] == f"hub:lab/esm@{commit}"
    write_fasta(tmp_path / "x.fa", random_proteins(3))
    cache = {"PROTCLIP_CACHE": tmp_path / "cache"}
    rows = [
        protclip("embed", "x.fa", "-o", "-", "--model", model, cwd=tmp_path, env=cache).out
        for model in ("mine", "esm")
    ]
    assert rows[0] == rows[1] and rows[0].count("\n") == 4


def test_the_catalog_does_not_believe_another_file(models, server, tmp_path):
    """A mirror of the hub that serves another model under a pinned commit is found out."""
    from protclip_core.fetch.catalog import CATALOG

    write_esm2(tmp_path / "esm")
    (source,) = CATALOG["esm2-8m"].sources
    hub(server, tmp_path / "esm", source.repo)
    body = json.loads(server.content[f"/api/models/{source.repo}/revision/main"].body)
    server.serve(
        f"/api/models/{source.repo}/revision/{source.revision}", body | {"sha": source.revision}
    )
    done = models("pull", "esm2-8m", env={"HF_ENDPOINT": server.url})
    line = one_error(done, 4, "model.safetensors")
    assert source.sha256["model.safetensors"] in line
    assert "esm2-8m\tavailable" in models("list").out


@pytest.mark.full
def test_a_mirror_cannot_pass_off_a_model_of_another_size(models, server, tmp_path):
    """Where the catalog pins no hash, the shape still has to be that of the name."""
    from protclip_core.fetch.catalog import CATALOG

    write_esm2(tmp_path / "esm")
    (source,) = CATALOG["esm2-35m"].sources
    hub(server, tmp_path / "esm", source.repo)
    body = json.loads(server.content[f"/api/models/{source.repo}/revision/main"].body)
    commit = source.revision
    server.serve(f"/api/models/{source.repo}/revision/{commit}", body | {"sha": commit})
    for path in (tmp_path / "esm").iterdir():
        server.serve(f"/{source.repo}/resolve/{commit}/{path.name}", path.read_bytes())
    done = models("pull", "esm2-35m", env={"HF_ENDPOINT": server.url})
    assert done.rc == 4
    assert "hashes come from the mirror itself" in done.err
    assert "esm2-35m" in done.err.splitlines()[-1]
    assert "esm2-35m\tavailable" in models("list").out


def test_an_archive_is_unpacked_and_imported(models, tmp_path, tiny_bundle):
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(tiny_bundle, "tiny")
    assert models("import", "model.tar.gz", "--name", "small").rc == 0
    assert models("verify", "small").rc == 0
    assert list((tmp_path / "cache/downloads/small").glob("*")) == []


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_that_leaves_its_folder_is_refused(models, tmp_path, kind):
    """Fault 45, by the command: nothing outside, nothing left inside."""
    path = tmp_path / f"evil.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../../marker", "x")
    else:
        with tarfile.open(path, "w") as archive:
            archive.addfile(tarfile.TarInfo("../../marker"), io.BytesIO(b""))
    one_error(models("import", path, "--name", "evil"), 4, "../../marker")
    assert list(tmp_path.rglob("marker")) == []
    assert not (tmp_path / "cache/models/evil").exists()


def test_a_cache_that_is_a_file_is_one_line(protclip, tmp_path, tiny_bundle):
    (tmp_path / "cache").write_text("")
    done = protclip("models", "import", tiny_bundle, "--name", "a", "--cache", tmp_path / "cache")
    one_error(done, 2, str(tmp_path / "cache"))
    shutil.rmtree(tmp_path / "nowhere", ignore_errors=True)
    assert protclip("models", "list", "--cache", tmp_path / "nowhere").rc == 0

"""Sources of models, asked of a server that speaks as Zenodo and the hub do."""

from __future__ import annotations

import hashlib
import json

import pytest

from protclip_core.errors import ModelError, UsageError
from protclip_core.fetch.download import download
from protclip_core.fetch.needed_files import pick_files, refuse_remote_code
from protclip_core.fetch.source_files import list_files, save_listings
from protclip_core.fetch.sources import HubSource, UrlSource, ZenodoSource, parse_source
from tests.support.local_server import Fault, forget_network, local_server
from tests.support.refusals import refused

COMMIT = "c731040fcd8d73dceaa04b0a8e6329b345b0f5df"
SHA256 = hashlib.sha256(b"weights").hexdigest()
CONFIG = b'{"model_type": "esm"}'
WRONG = 64 * "0"
SHARDS = "model-00001-of-00002.safetensors model-00002-of-00002.safetensors"


@pytest.fixture
def server(monkeypatch):
    forget_network(monkeypatch)
    monkeypatch.setenv("PROTCLIP_TIMEOUT", "5")
    with local_server() as running:
        monkeypatch.setenv("PROTCLIP_MIRROR", running.url)
        monkeypatch.setenv("HF_ENDPOINT", running.url + "/")
        yield running


def serve_record(server, files, *, new=False, license="mit-license"):
    """Serve a record of Zenodo, in the form of its API of today or of its first new months."""
    listed = []
    for name, body in files.items():
        server.serve(f"/api/records/15/files/{name}/content", body)
        server.serve(f"/records/15/files/{name}", body)
        md5 = hashlib.md5(body).hexdigest()
        if new:
            listed.append({"filename": name, "checksum": md5, "filesize": len(body)})
        else:
            url = f"https://zenodo.org/api/records/15/files/{name}/content"
            known = {"checksum": f"md5:{md5}", "size": len(body), "links": {"self": url}}
            listed.append({"key": name, **known})
    metadata = {"rights": [{"id": license}]} if new else {"license": {"id": license}}
    record = {"id": 15, "files": listed, "metadata": metadata}
    return server.serve("/api/records/15", record)


def serve_repo(server, files, *, lfs=(), revision="main", commit=COMMIT, **more):
    """Serve a repository of the hub."""
    siblings = []
    for name, body in files.items():
        server.serve(f"/o/r/resolve/{commit}/{name}", body)
        one = {"rfilename": name, "size": len(body), "blobId": git_sha1(body)}
        if name in lfs:
            sha256 = hashlib.sha256(body).hexdigest()
            one["lfs"] = {"sha256": sha256, "size": len(body), "pointerSize": 130}
        siblings.append(one)
    answer = {"id": "o/r", "sha": commit, "siblings": siblings, "tags": ["license:mit"], **more}
    server.serve(f"/api/models/o/r/revision/{revision}", answer)


def git_sha1(body):
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def fetch_all(source, folder):
    return {f.name: download(f, folder).read_bytes() for f in source.files()}


@pytest.mark.parametrize("new", [False, True])
def test_record_of_zenodo(server, tmp_path, new):
    files = {"config.json": CONFIG, "model.safetensors": b"weights", "train.log": b"long"}
    serve_record(server, files, new=new)
    source = parse_source("doi:10.5281/zenodo.15")
    listed = source.files()
    assert [f.name for f in listed] == ["config.json", "model.safetensors"]
    assert [f.size for f in listed] == [len(CONFIG), 7]
    assert listed[1].md5 == hashlib.md5(b"weights").hexdigest()
    assert all(f.url.startswith(server.url) for f in listed), "the mirror serves the files too"
    assert fetch_all(source, tmp_path)["model.safetensors"] == b"weights"
    assert source.license == "mit-license"
    assert source.text == "doi:10.5281/zenodo.15"


def test_record_whose_file_is_another(server, tmp_path):
    """The md5 of the record is compared with what comes, and a sha256 that is given as well."""
    serve_record(server, {"model.safetensors": b"weights"})
    server.serve("/api/records/15/files/model.safetensors/content", b"weightz")
    source = parse_source("doi:10.5281/zenodo.15")
    with pytest.raises(ModelError, match="md5 mismatch"):
        fetch_all(source, tmp_path)
    serve_record(server, {"model.safetensors": b"weights"})
    source = parse_source("doi:10.5281/zenodo.15#model.safetensors", sha256=WRONG)
    with pytest.raises(ModelError, match=f"sha256 mismatch, expected {WRONG}"):
        fetch_all(source, tmp_path)


def test_files_of_a_record_are_chosen_by_name_or_because_there_is_one(server):
    serve_record(server, {"a.pt": b"1", "b.pt": b"2"})
    source = parse_source("doi:10.5281/zenodo.15#b.pt, a.pt")
    assert [f.name for f in source.files()] == ["b.pt", "a.pt"]
    assert source.text == "doi:10.5281/zenodo.15#b.pt,a.pt"
    with pytest.raises(ModelError, match=r"not clear which .* there are a.pt, b.pt; name them"):
        parse_source("doi:10.5281/zenodo.15").files()
    with pytest.raises(ModelError, match=r"no file 'c.pt'; it has a.pt, b.pt"):
        parse_source("doi:10.5281/zenodo.15#c.pt").files()
    serve_record(server, {"a.pt": b"1"})
    assert [f.name for f in parse_source("doi:10.5281/zenodo.15").files()] == ["a.pt"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>log in", "JSON was expected"),
        ([], "not a valid Zenodo record"),
        ({"message": "gone"}, "not a valid Zenodo record"),
        ({"files": [{"key": "a", "checksum": "none"}]}, "not a valid Zenodo record"),
        ({"files": [{"key": "a"}]}, "not a valid Zenodo record"),
    ],
)
def test_record_that_is_none(server, body, reason):
    url = server.serve("/api/records/15", body)
    with pytest.raises(ModelError, match=reason) as caught:
        parse_source("doi:10.5281/zenodo.15").files()
    assert caught.value.where == url


def test_record_that_cannot_be_had(server):
    """Fault 40: one line with URL, reason and way out."""
    with pytest.raises(ModelError) as caught:
        parse_source("doi:10.5281/zenodo.15").files()
    message = str(caught.value)
    assert message.startswith(f"{server.url}/api/records/15: cannot be downloaded: HTTP 404")
    assert "protclip models import" in message


def test_repository_of_the_hub(server, tmp_path, monkeypatch):
    files = {
        "config.json": CONFIG,
        "vocab.txt": b"A\nC\n",
        "model.safetensors": b"weights",
        "pytorch_model.bin": b"pickle",
        "tf_model.h5": b"h5",
        "modeling.py": b"print()",
    }
    serve_repo(server, files, lfs=("model.safetensors", "pytorch_model.bin", "tf_model.h5"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    source = parse_source("hub:o/r")
    assert source.text == "hub:o/r"
    listed = source.files()
    assert [f.name for f in listed] == ["config.json", "vocab.txt", "model.safetensors"]
    assert (listed[2].sha256, listed[2].git_sha1, listed[2].size) == (SHA256, None, 7)
    assert (listed[0].sha256, listed[0].git_sha1) == (None, git_sha1(CONFIG))
    assert source.text == f"hub:o/r@{COMMIT}", "the origin names the commit that was resolved"
    assert source.license == "mit"
    assert fetch_all(source, tmp_path)["vocab.txt"] == b"A\nC\n"
    assert {r.headers["authorization"] for r in server.requests} == {"Bearer hf_secret"}
    assert "hf_secret" not in repr(listed)


def test_revision_and_pins(server):
    serve_repo(server, {"config.json": CONFIG, "model.safetensors": b"weights"}, revision=COMMIT)
    pinned = HubSource(repo="o/r", revision=COMMIT, sha256={"model.safetensors": SHA256})
    assert pinned.files()[1].sha256 == SHA256, "a pin holds where the hub states no sha256"
    lfs = {"lfs": ("model.safetensors",), "revision": COMMIT}
    serve_repo(server, {"model.safetensors": b"weightz"}, **lfs)
    with pytest.raises(ModelError, match=f"sha256 mismatch .* expected {SHA256}, the hub says"):
        pinned.files()
    serve_repo(server, {"model.safetensors": b"weights"}, revision=COMMIT, commit=40 * "a")
    with pytest.raises(ModelError, match=f"the hub gives commit {40 * 'a'!r}"):
        pinned.files()
    serve_repo(server, {"vocab.txt": b"A"}, revision="a%2Fb")
    chosen = HubSource(repo="o/r", revision="a/b", names=("vocab.txt",))
    assert [f.name for f in chosen.files()] == ["vocab.txt"]
    with pytest.raises(ModelError, match="no file 'x'"):
        HubSource(repo="o/r", revision="a/b", names=("x",)).files()


@pytest.mark.parametrize("key", ["auto_map", "custom_pipelines"])
def test_repository_that_wants_its_code_run(server, key):
    """Fault 44: refused from the file itself, whatever the hub's summary says; no question."""
    config = {"model_type": "x", key: {"AutoModel": "modeling.Evil"}}
    files = {"config.json": json.dumps(config).encode(), "model.safetensors": b"weights"}
    serve_repo(server, {**files, "modeling.py": b"raise SystemExit"}, config={"model_type": "x"})
    with pytest.raises(ModelError) as caught:
        parse_source("hub:o/r").files()
    assert f"wants its own code to be run ({key}: " in str(caught.value)
    assert "modeling.Evil" in str(caught.value)
    assert not server.to(f"/o/r/resolve/{COMMIT}/model.safetensors")
    assert not server.to(f"/o/r/resolve/{COMMIT}/modeling.py")


def test_config_that_is_no_object():
    refuse_remote_code({"model_type": "esm"}, where="x")
    with pytest.raises(ModelError, match="not an object"):
        refuse_remote_code([1], where="x")


@pytest.mark.parametrize("body", [b"<html>", [], {"id": "o/r"}, {"id": "o/r", "sha": "abc"}])
def test_hub_that_answers_nonsense(server, body):
    server.serve("/api/models/o/r/revision/main", body)
    with pytest.raises(ModelError) as caught:
        parse_source("hub:o/r").files()
    assert caught.value.where == f"{server.url}/api/models/o/r/revision/main"


def test_private_or_missing_repository(server):
    refusal = Fault(status=401)
    url = server.serve("/api/models/o/r/revision/main", {}, always=refusal)
    with pytest.raises(ModelError) as caught:
        parse_source("hub:o/r").files()
    assert str(caught.value).startswith(f"{url}: cannot be downloaded: HTTP 401")
    assert "hf auth login" in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize("text", ["doi:10.5281/zenodo.15", "hub:o/r"])
def test_offline_sources_send_nothing(server, text):
    with pytest.raises(ModelError, match="offline"):
        parse_source(text).files(offline=True)
    assert server.requests == []


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("siblings",), None, "siblings is None"),
        (("siblings",), {"a": 1}, "siblings is {'a': 1}"),
        (("siblings",), ["model.safetensors"], "siblings[0] is 'model.safetensors'"),
        (("siblings", 0, "rfilename"), 5, "siblings[0].rfilename is 5"),
        (("siblings", 0, "size"), "12", "siblings[0].size is '12'"),
        (("siblings", 0, "size"), -1, "siblings[0].size is -1"),
        (("siblings", 0, "size"), True, "siblings[0].size is True"),
        (("siblings", 0, "blobId"), 5, "siblings[0].blobId is 5"),
        (("siblings", 0, "blobId"), "0" * 39, "siblings[0].blobId is '000"),
        (("siblings", 1, "lfs"), 5, "siblings[1].lfs is 5"),
        (("siblings", 1, "lfs", "sha256"), 5, "siblings[1].lfs.sha256 is 5"),
        (("siblings", 1, "lfs", "sha256"), None, "siblings[1].lfs.sha256 is None"),
        (("siblings", 1, "lfs", "size"), -5, "siblings[1].lfs.size is -5"),
        (("tags",), 5, "tags is 5"),
        (("tags",), [5], "tags[0] is 5"),
        (("sha",), None, "sha is None"),
    ],
)
def test_hub_whose_fields_are_of_another_kind(server, path, value, named):
    files = {"config.json": CONFIG, "model.safetensors": b"weights"}
    serve_repo(server, files, lfs=("model.safetensors",))
    api = server.content["/api/models/o/r/revision/main"]
    api.body = changed(api.body, path, value)
    with pytest.raises(ModelError) as caught:
        parse_source("hub:o/r").files()
    assert named in caught.value.message
    assert caught.value.code == "model.bad_field"
    assert caught.value.where == f"{server.url}/api/models/o/r/revision/main"


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("files",), 5, "files is 5"),
        (("files", 0), [], "files[0] is []"),
        (("files", 0, "key"), 5, "files[0].key is 5"),
        (("files", 0, "checksum"), 5, "files[0].checksum is 5"),
        (("files", 0, "checksum"), "sha512:0", "files[0].checksum is 'sha512:0'"),
        (("files", 0, "size"), "12", "files[0].size is '12'"),
        (("files", 0, "links"), None, "links is missing"),
        (("files", 0, "links", "self"), 5, "files[0].links.self is 5"),
        (("metadata",), 5, "metadata is 5"),
        (("metadata", "license"), 5, "metadata.license is 5"),
        (("metadata", "license", "id"), 5, "metadata.license.id is 5"),
    ],
)
def test_record_whose_fields_are_of_another_kind(server, path, value, named):
    url = serve_record(server, {"model.safetensors": b"weights"})
    api = server.content["/api/records/15"]
    api.body = changed(api.body, path, value)
    with pytest.raises(ModelError) as caught:
        parse_source("doi:10.5281/zenodo.15").files()
    assert named in caught.value.message
    assert caught.value.code == "model.bad_field"
    assert caught.value.where == url


def changed(body, path, value):
    """JSON with another value at a path of keys and numbers."""
    content = json.loads(body)
    *most, last = path
    place = content
    for step in most:
        place = place[step]
    place[last] = value
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("stated", "shown"),
    [
        ("\x1b[31mMIT\nX\tY\u202e", "[31mMIT X Y"),
        ("x" * 5000, "x" * 199 + "\N{HORIZONTAL ELLIPSIS}"),
        ("\x00\r\n", None),
    ],
)
def test_license_is_one_printable_line(server, stated, shown):
    files = {"model.safetensors": b"weights"}
    serve_repo(server, files, tags=["x", f"license:{stated}"])
    serve_record(server, files, license=stated)
    for text in ("hub:o/r", "doi:10.5281/zenodo.15"):
        source = parse_source(text)
        source.files()
        assert source.license == shown


@pytest.mark.parametrize("text", ["hub:o/r", "hub:o/r@main", "doi:10.5281/zenodo.15"])
def test_offline_answers_what_was_said_before(server, tmp_path, monkeypatch, text):
    files = {"config.json": CONFIG, "model.safetensors": b"weights"}
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    serve_repo(server, files, lfs=("model.safetensors",))
    serve_record(server, files)
    before = parse_source(text)
    listed = list_files([before], listing=tmp_path)
    assert not list(tmp_path.iterdir()), "kept only when it is asked for"
    for file in listed:
        download(file, tmp_path)
    save_listings([before], tmp_path)
    assert not any(b"hf_secret" in path.read_bytes() for path in tmp_path.iterdir())
    server.requests.clear()
    source = parse_source(text)
    again = list_files([source], offline=True, listing=tmp_path)
    assert [(f.name, f.url, f.size, f.hashes) for f in again] == [
        (f.name, f.url, f.size, f.hashes) for f in listed
    ]
    assert (source.text, source.license) == (before.text, before.license)
    assert [download(f, tmp_path, offline=True).read_bytes() for f in again] == [*files.values()]
    assert server.requests == []


def test_offline_answers_only_for_the_same_source(server, tmp_path):
    serve_repo(server, {"model.safetensors": b"weights"})
    one = parse_source("hub:o/r")
    one.files()
    save_listings([one], tmp_path)
    for other in (
        HubSource(repo="o/r", revision="dev"),
        HubSource(repo="o/r", names=("model.safetensors",)),
        HubSource(repo="o/r", sha256={"model.safetensors": WRONG}),
        parse_source("doi:10.5281/zenodo.15"),
    ):
        with pytest.raises(ModelError, match="offline"):
            other.files(offline=True, listing=tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "[" * 300_000,
        lambda text: "",
        lambda text: text[:-20],
        lambda text: "[]",
        lambda text: text.replace('"size": 7', '"size": "7"'),
        lambda text: text.replace(COMMIT, "main"),
        lambda text: text.replace("listing-1", "listing-2"),
        lambda text: text.replace("hub:o/r#", "hub:o/s#"),
    ],
)
def test_damaged_note_of_what_was_said_is_not_used(server, tmp_path, caplog, change):
    serve_repo(server, {"model.safetensors": b"weights"})
    source = parse_source("hub:o/r")
    source.files()
    save_listings([source], tmp_path)
    (note,) = tmp_path.iterdir()
    assert change(note.read_text()) != note.read_text()
    note.write_text(change(note.read_text()))
    with pytest.raises(ModelError, match="offline"):
        parse_source("hub:o/r").files(offline=True, listing=tmp_path)
    (warning,) = caplog.records
    assert str(note) in warning.getMessage()


def test_mirror_that_vouches_for_itself_is_said_once(server, tmp_path, caplog):
    """Also when offline: the files are no better for having been fetched before."""
    serve_record(server, {"model.safetensors": b"weights"})
    serve_repo(server, {"config.json": CONFIG, "vocab.txt": b"A"})
    sources = [
        parse_source("doi:10.5281/zenodo.15"),
        HubSource(repo="o/r", names=("config.json", "vocab.txt")),
    ]
    for offline in (False, True):
        caplog.clear()
        assert len(list_files(sources, offline=offline, listing=tmp_path)) == 3
        (warning,) = caplog.records
        message = warning.getMessage()
        assert message.startswith(f"hashes come from the mirror itself: {server.url} for ")
        assert "config.json, model.safetensors, vocab.txt" in message
        save_listings(sources, tmp_path)


def test_what_is_pinned_needs_no_warning(server, caplog):
    serve_record(server, {"a.pt": b"weights"})
    serve_repo(server, {"vocab.txt": b"weights", "x": b"other"})
    list_files(
        [
            parse_source("doi:10.5281/zenodo.15#a.pt", sha256=SHA256),
            HubSource(repo="o/r", names=("vocab.txt",), sha256={"vocab.txt": SHA256}),
            parse_source("https://files.example/a.pt", sha256=SHA256),
        ]
    )
    assert caplog.records == []


@pytest.mark.parametrize("text", ["https://user:pw@files.example/a", "HTTPS://pw@files.example/a"])
@pytest.mark.parametrize("sha256", [SHA256, None, "pw"])
def test_url_with_a_password(text, sha256):
    with pytest.raises(UsageError, match="do not belong into a URL") as caught:
        parse_source(text, sha256=sha256)
    assert "pw" not in str(caught.value)
    assert "protclip models import" in str(caught.value)


def test_url_that_is_none():
    with pytest.raises(ModelError, match="use an https URL"):
        parse_source("https://[x/a", sha256=SHA256).files()


def test_url_with_a_hash(server, tmp_path):
    server.serve("/some/model%20x.pt", b"weights")
    source = parse_source("https://files.example/some/model%20x.pt", sha256=SHA256.upper())
    assert source == UrlSource(url="https://files.example/some/model%20x.pt", sha256=SHA256)
    (file,) = source.files(offline=True)
    assert (file.name, file.url) == ("model_x.pt", f"{server.url}/some/model%20x.pt")
    assert download(file, tmp_path).read_bytes() == b"weights"
    assert source.text == "https://files.example/some/model%20x.pt"


def test_url_to_where_nothing_is_fetched_from(monkeypatch):
    monkeypatch.delenv("PROTCLIP_MIRROR", raising=False)
    with pytest.raises(ModelError, match="use an https URL"):
        parse_source("http://files.example/a", sha256=SHA256).files()


@pytest.mark.parametrize(
    ("text", "sha256", "reason"),
    [
        ("https://files.example/a", None, "--sha256"),
        ("https://files.example/a", "abc", "64 hexadecimal"),
        ("hub:o/r", SHA256, "several files"),
        ("doi:10.5281/zenodo.15", SHA256, "name it"),
        ("doi:10.1000/182", None, "no source of models"),
        ("hub:owner", None, "no source of models"),
        ("hub:../r", None, "no source of models"),
        ("hub:o/r@a/../b", None, "no source of models"),
        ("ftp://files.example/a", SHA256, "no source of models"),
        ("file:///etc/passwd", SHA256, "no source of models"),
        ("", None, "no source of models"),
    ],
)
def test_text_that_names_no_source(text, sha256, reason):
    with pytest.raises(UsageError, match=reason):
        parse_source(text, sha256=sha256)


@pytest.mark.parametrize("text", ["hub:o/r@v1.0", "hub:o/r", "doi:10.5281/zenodo.15#a,b"])
def test_text_of_a_source_is_read_back(text):
    assert parse_source(text).text == text
    assert parse_source(parse_source(text).text) == parse_source(text)


def test_source_made_by_hand_with_another_doi():
    with refused("usage.bad_source", "10.1000/182"):
        ZenodoSource(doi="10.1000/182").files()


@pytest.mark.parametrize(
    ("names", "picked"),
    [
        ("b.py model.safetensors config.json", "config.json model.safetensors"),
        ("pytorch_model.bin flax_model.msgpack rust_model.ot", "pytorch_model.bin"),
        (
            f"{SHARDS} model.safetensors.index.json pytorch_model.bin vocab.txt",
            f"vocab.txt model.safetensors.index.json {SHARDS}",
        ),
        (
            "pytorch_model-00001-of-00001.bin pytorch_model.bin.index.json sub/model.safetensors",
            "pytorch_model.bin.index.json pytorch_model-00001-of-00001.bin",
        ),
    ],
)
def test_what_an_importer_needs(names, picked):
    assert pick_files(names.split(), where="x") == tuple(picked.split())


def test_repository_without_weights_or_with_a_shard_missing():
    with pytest.raises(ModelError, match="neither model.safetensors nor pytorch_model.bin"):
        pick_files(["tf_model.h5", "config.json"], where="x")
    names = ["model.safetensors.index.json", "model-00001-of-00002.safetensors"]
    with pytest.raises(ModelError, match="has 1 of 2 shards"):
        pick_files(names, where="x")

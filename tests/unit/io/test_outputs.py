"""No command writes over what it reads: by name, by link, by the files that it writes besides."""

from __future__ import annotations

import os

import pytest

from protclip_core.errors import UsageError
from protclip_core.io.outputs import check_outputs, lock_name, refuse_input_as_output


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "x.fa"
    path.write_text(">a\nMK\n")
    return path


def refused(code, *arguments, **options):
    with pytest.raises(UsageError) as error:
        check_outputs(*arguments, **options)
    assert error.value.code == code
    return error.value


def test_other_files_are_let_pass(source, tmp_path):
    check_outputs([source, "-", None, "protclip-mini"], [tmp_path / "o.h5", "-", None])
    check_outputs([source], [tmp_path / "o.h5"], folders=[tmp_path / "o.h5.partial"])


def test_an_input_by_name(source, tmp_path, monkeypatch):
    refused("usage.output_is_input", [str(source)], [source])
    monkeypatch.chdir(tmp_path)
    refused("usage.output_is_input", ["x.fa"], ["./x.fa"])
    refused("usage.output_is_input", ["x.fa"], [tmp_path / "o.h5", "../" + tmp_path.name + "/x.fa"])


def test_an_input_that_does_not_exist_yet(tmp_path):
    refused("usage.output_is_input", [tmp_path / "later.fa"], [tmp_path / "later.fa"])


@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.parametrize("end", ["input", "output"])
def test_an_input_by_links(source, tmp_path, link, end):
    other = tmp_path / "other.h5"
    link(source, other)
    pair = (other, source) if end == "input" else (source, other)
    assert refused("usage.output_is_input", pair[:1], pair[1:]).where == str(pair[1])


def test_an_input_by_the_name_of_its_folder(source, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path, target_is_directory=True)
    refused("usage.output_is_input", [source], [tmp_path / "alias" / "x.fa"])


def test_a_file_of_an_input_folder(source, tmp_path):
    model = tmp_path / "model"
    (model / "deep").mkdir(parents=True)
    (model / "deep" / "weights").write_bytes(b"1")
    refused("usage.output_is_input", [model], [model / "deep" / "weights"])
    check_outputs([model], [model / "deep" / "new"])


def test_an_input_in_a_folder_that_will_be_cleared(tmp_path):
    working = tmp_path / "o.h5.partial"
    working.mkdir()
    (working / "x.fa").write_text(">a\nMK\n")
    refused("usage.output_is_input", [working / "x.fa"], [], folders=[working])
    (tmp_path / "y.fa").hardlink_to(working / "x.fa")
    refused("usage.output_is_input", [tmp_path / "y.fa"], [], folders=[working])


def test_the_lock_of_an_output(tmp_path):
    lock = tmp_path / ".o.h5.lock"
    lock.write_text(">a\nMK\n")
    assert lock_name(tmp_path / "o.h5") == lock
    with pytest.raises(UsageError) as error:
        refuse_input_as_output([str(lock)], tmp_path / "o.h5")
    assert error.value.code == "usage.output_is_input"


def test_standard_input_from_a_file(source, tmp_path, monkeypatch):
    kept = os.dup(0)
    try:
        with source.open() as handle:
            os.dup2(handle.fileno(), 0)
        assert refused("usage.output_is_input", ["-"], [source]).where == str(source)
        check_outputs(["-"], [tmp_path / "o.h5"])
        check_outputs([], [source])  # not read
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_two_outputs_in_one_file(tmp_path):
    refused("usage.outputs_collide", [], [tmp_path / "a.png", tmp_path / "." / "a.png"])


def test_no_folder(tmp_path):
    refused("usage.no_such_folder", [], [tmp_path / "none" / "a.png"])
    assert not (tmp_path / "none").exists()


def test_a_loop_of_links(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    refused("usage.output_is_link_loop", [], [tmp_path / "a.png"])
    refused("usage.output_is_link_loop", [], [tmp_path / "a.png" / "x"])
    assert (tmp_path / "a.png").is_symlink()


def test_a_link_to_what_does_not_exist_yet_is_an_output(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    check_outputs([], [tmp_path / "a.png"])

"""The folder of installed models: found, named, and readable or not."""

from __future__ import annotations

import pytest

from protclip_core.errors import UsageError
from protclip_core.fetch.cache import (
    cache_folder,
    check_name,
    find_installed,
    installed_models,
    is_name,
)
from tests.support.helpers import write_tiny_bundle
from tests.support.refusals import refused


@pytest.mark.parametrize("name", ["a", "esm2-650m", "A.b_c", "9" * 80])
def test_names(name):
    assert is_name(name)
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".a", "a/b", "a b", "a\n", "a" * 81, "\N{GREEK SMALL LETTER PI}"]
)
def test_what_is_no_name(name):
    assert not is_name(name)
    with refused("usage.bad_model_name"):
        check_name(name)


def test_home_of_a_user_who_is_none(monkeypatch):
    monkeypatch.setenv("PROTCLIP_CACHE", "~no-such-user/x")
    for look in (cache_folder, installed_models):
        with refused("usage.bad_cache", "~no-such-user/x") as caught:
            look()
        assert caught.value.where == "PROTCLIP_CACHE"


def test_relative_folder_where_the_current_one_is_gone(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match="no current folder"):
        cache_folder("cache")


def test_installed_models_are_those_with_a_manifest_and_a_name(tmp_path):
    models = tmp_path / "models"
    for name in ("b", "a"):
        write_tiny_bundle(models / name)
    (models / "empty").mkdir()
    (models / "file").write_text("")
    (models / ".a.new").mkdir()
    assert list(installed_models(tmp_path)) == ["a", "b"]
    assert installed_models(tmp_path / "none") == {}
    assert installed_models(models / "file") == {}


def test_model_that_may_not_be_looked_into_is_there(tmp_path):
    """A folder of links in a circle stands for one that is closed: root may look anywhere."""
    write_tiny_bundle(tmp_path / "models" / "a")
    (tmp_path / "models" / "round").symlink_to("round")
    assert list(installed_models(tmp_path)) == ["a", "round"]


@pytest.mark.parametrize("kind", ["loop", "long"])
def test_folder_that_cannot_be_read_has_no_models_and_is_named(tmp_path, caplog, kind):
    cache = tmp_path / ("x" * 300 if kind == "long" else "cache")
    if kind == "loop":
        cache.mkdir()
        (cache / "models").symlink_to("models")
    assert installed_models(cache) == {}
    (warning,) = caplog.records
    assert f"{cache / 'models'}: installed models cannot be read: " in warning.getMessage()
    with pytest.raises(UsageError, match="PROTCLIP_CACHE"):
        find_installed(cache)

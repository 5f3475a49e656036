"""What the tests of commands share."""

from __future__ import annotations

import pytest


@pytest.fixture
def embed(protclip, tiny_bundle, tmp_path):
    """``embed(*arguments)`` in ``tmp_path`` with the tiny model."""

    def embed(*arguments, **options):
        options.setdefault("cwd", tmp_path)
        fixed = ["--model", tiny_bundle, "--device", "cpu"]
        return protclip("embed", *fixed, *arguments, **options)

    return embed

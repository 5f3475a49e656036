"""Errors as tests look at them: by code and by the values they name, never by wording."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from protclip_core.errors import ProtclipError


@contextmanager
def refused(code, *values):
    """Expect an error of this code whose place, message and hint name all of these values."""
    with pytest.raises(ProtclipError) as caught:
        yield caught
    assert caught.value.code == code
    assert code.startswith(f"{caught.value.kind}.")
    told = "\n".join([str(caught.value), *caught.value.details])
    for value in values:
        assert str(value) in told

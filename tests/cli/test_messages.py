"""One snapshot of what errors say; what they mean is tested by their codes elsewhere."""

from __future__ import annotations

from tests.cli.messages import FILE, messages


def test_messages_are_the_listed_ones():
    found, listed = messages(), FILE.read_text("utf-8")
    assert found.split("\n\n") == listed.split("\n\n"), "if meant so: python -m tests.cli.messages"
    assert "a bug of protclip" not in found

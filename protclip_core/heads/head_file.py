"""The file of a head: a zip of two entries, and a checksum over all of it.

Format ``protclip-head``, version 1, ``NAME.head``::

    head.json         the card, with the format, its version and the sha256 of the other entry
    estimator.skops   the fitted estimator as plain arrays and JSON

The zip's comment, the last 64 bytes, is the sha256 of all before: a cut, a flipped or an added
byte is found. This does not keep out who means harm; what is read here is still to be distrusted.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protclip_core.errors import ModelError
from protclip_core.io.zips import LIMIT_BYTES, unpack_entries

__all__ = ["CARD", "ESTIMATOR", "pack_head", "read_head_file", "unpack_head"]

FORMAT, FORMAT_VERSION = "protclip-head", 1
CARD, ESTIMATOR = "head.json", "estimator.skops"
_CHECKSUM_BYTES = 64
_FETCH_AGAIN = "fetch or train the head again"


def read_head_file(path: str | Path) -> bytes:
    """Read a file that is small enough to be a head.

    Raises
    ------
    ModelError
        Missing, no plain file, unreadable or too large.
    """
    where, file = str(path), Path(path)
    try:
        if not file.is_file():
            raise ModelError("no such head file", where=where)
        if (size := file.stat().st_size) > LIMIT_BYTES:
            raise ModelError(f"{size:,} bytes are too many for a head", where=where)
        return file.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ModelError(f"cannot be read ({reason})", where=where) from error


def pack_head(content: Mapping[str, Any], estimator: bytes) -> bytes:
    """Make the bytes of a head file.

    Parameters
    ----------
    content
        The card, plain data without NaN; format, version and hash are added.
    estimator
        Content of the other entry.
    """
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, **content}
    head["estimator_sha256"] = hashlib.sha256(estimator).hexdigest()
    card = json.dumps(head, ensure_ascii=False, allow_nan=False).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        # Fixed times: equal content gives equal files.
        archive.writestr(zipfile.ZipInfo(CARD), card, zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo(ESTIMATOR), estimator, zipfile.ZIP_STORED)
        archive.comment = b"0" * _CHECKSUM_BYTES
    packed = buffer.getvalue()[:-_CHECKSUM_BYTES]
    return packed + hashlib.sha256(packed).hexdigest().encode()


def unpack_head(data: bytes, where: str) -> tuple[dict[str, Any], bytes]:
    """Give the card's content and the estimator's bytes, both as they were written.

    Raises
    ------
    ModelError
        Anything else than a whole, unchanged head file of this version.
    """
    if not data.startswith(b"PK\x03\x04"):
        what = "a pickled file, which is never loaded" if data[:1] == b"\x80" else "no zip"
        raise ModelError(f"not a head file ({what})", where=where, hint=_FETCH_AGAIN)
    if hashlib.sha256(data[:-_CHECKSUM_BYTES]).hexdigest().encode() != data[-_CHECKSUM_BYTES:]:
        raise ModelError(
            "not a head file, or one that was cut or changed (its checksum does not fit)",
            where=where,
            hint=_FETCH_AGAIN,
        )
    entries = unpack_entries(data, where, _FETCH_AGAIN)
    try:
        content, estimator = json.loads(entries[CARD]), entries[ESTIMATOR]
    except (KeyError, ValueError, RecursionError) as error:
        raise ModelError(
            f"cannot be read as a head file ({type(error).__name__})", where=where
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelError(f"{CARD} is not of format {FORMAT!r}", where=where)
    if content.get("format_version") != FORMAT_VERSION:
        raise ModelError(
            f"head format version {content.get('format_version')!r}, this protclip reads "
            f"{FORMAT_VERSION}",
            where=where,
            hint="install a newer protclip",
        )
    if content.get("estimator_sha256") != hashlib.sha256(estimator).hexdigest():
        raise ModelError(
            f"sha256 mismatch of {ESTIMATOR}, expected {content.get('estimator_sha256')!r}",
            where=where,
            hint=_FETCH_AGAIN,
        )
    return content, estimator

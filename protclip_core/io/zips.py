"""Zip files in memory, unpacked within bounds."""

from __future__ import annotations

import io
import zipfile
import zlib

from protclip_core.errors import ModelError

__all__ = ["LIMIT_BYTES", "unpack_entries"]

#: What a zip, or what it unpacks to, may take.
LIMIT_BYTES = 1 << 30


_PIECE_BYTES = 1 << 20


def unpack_entries(data: bytes, where: str, hint: str | None = None) -> dict[str, bytes]:
    """Unpack a zip in memory; what it says of its own size is not believed.

    Raises
    ------
    ModelError
        No readable zip, or more than `LIMIT_BYTES` in it.
    """
    entries, total = {}, 0
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    pieces = []
                    # A read without a size would unpack all that is packed, declared or not.
                    while piece := file.read(_PIECE_BYTES):
                        pieces.append(piece)
                        total += len(piece)
                        if total > LIMIT_BYTES:
                            raise ModelError(
                                f"unpacks to more than {LIMIT_BYTES:,} bytes",
                                code="model.too_large",
                                where=where,
                            )
                entries[entry.filename] = b"".join(pieces)
    # RuntimeError: it asks for a password.
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise ModelError(
            f"cannot be unpacked ({type(error).__name__}: {error})",
            code="model.damaged",
            where=where,
            hint=hint,
        ) from error
    return entries

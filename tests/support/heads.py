"""Heads that tests make, and the same files as someone with bad intent would change them."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zipfile

import numpy as np
from safetensors.numpy import load, save

from protclip_core.heads.card import HeadCard, HeadInput

WIDTH = 16
CLASSES = ("cytosol", "membrane", "nucleus")
LABELS = ("GO:0005524", "GO:0003677", "GO:0046872")
INPUT = HeadInput(
    width=WIDTH,
    model="tiny",
    weights_sha256="ab" * 32,
    config_sha256="cd" * 32,
    pooling="residues",
    space="encoder",
    layer=2,
)


def card(*, multilabel=False):
    return HeadCard(
        task="where a protein is",
        labels=LABELS if multilabel else CLASSES,
        multilabel=multilabel,
        input=INPUT,
    )


def examples():
    return np.random.default_rng(0).normal(size=(120, WIDTH))


def fitted(estimator, *, multilabel=False, kind=np.float64):
    """Fit on `examples`: three classes, or three labels."""
    vectors = examples().astype(kind)
    one = (vectors[:, 0] > 0).astype(int) + (vectors[:, 1] > 0.5)
    with warnings.catch_warnings(action="ignore"):  # of too few steps, and of coming releases
        return estimator.fit(vectors, (vectors[:, :3] > 0).astype(int) if multilabel else one)


def zip_of(entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def entries_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def old_head_bytes(content, estimator):
    """A head file of version 1 with its checksum right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("head.json", json.dumps(content))
        archive.writestr("estimator.skops", estimator)
        archive.comment = b"0" * 64
    packed = buffer.getvalue()[:-64]
    return packed + hashlib.sha256(packed).hexdigest().encode()


def parts_of_head(data):
    """The card, as plain data, and the tensors of a head file."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["head"]), load(data)


def rewrite(path, *, content=None, arrays=None):
    """Change a head file and put its checksum right again.

    ``content`` changes the card in place, ``arrays`` the table of its tensors by name.
    """
    own, tensors = parts_of_head(path.read_bytes())
    if content is not None:
        content(own)
    if arrays is not None:
        arrays(tensors)
    if "sha256" in own:
        own["sha256"] = "0" * 64
    data = save(tensors, {"head": json.dumps(own)})
    found = hashlib.sha256(data).hexdigest()
    path.write_bytes(data.replace(b"0" * 64, found.encode(), 1))

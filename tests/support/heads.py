"""Heads that tests make, and the same files as someone with bad intent would change them."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zipfile

import numpy as np

from protclip_core.heads.card import HeadCard, HeadInput

#: Wide enough that neighbours are looked for without a tree.
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


def head_bytes(content, estimator):
    """A head file with all its checksums right."""
    content = {**content, "estimator_sha256": hashlib.sha256(estimator).hexdigest()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("head.json", json.dumps(content))
        archive.writestr("estimator.skops", estimator)
        archive.comment = b"0" * 64
    packed = buffer.getvalue()[:-64]
    return packed + hashlib.sha256(packed).hexdigest().encode()


def rewrite(path, *, content=None, schema=None, arrays=None, estimator=None, sklearn=None):
    """Change a head file and put its checksums right again.

    ``content`` changes the card in place, ``schema`` that of the estimator, ``arrays`` the
    table of its arrays by name; ``estimator`` replaces its bytes; ``sklearn`` is the version that
    its parts say they are of.
    """
    outer = entries_of(path.read_bytes())
    own = json.loads(outer["head.json"])
    if content is not None:
        content(own)
    if estimator is None:
        inner = entries_of(outer["estimator.skops"])
        tree = json.loads(inner["schema.json"])
        if schema is not None:
            schema(tree)
        if sklearn is not None:
            for node in nodes(tree):
                fields = node.get("content")
                if isinstance(fields, dict) and "_sklearn_version" in fields:
                    fields["_sklearn_version"]["content"] = json.dumps(sklearn)
        inner["schema.json"] = json.dumps(tree).encode()
        if arrays is not None:
            tables = {n: np.load(io.BytesIO(d)) for n, d in inner.items() if n.endswith(".npy")}
            arrays(tables)
            for name, table in tables.items():
                buffer = io.BytesIO()
                np.save(buffer, table)
                inner[name] = buffer.getvalue()
        estimator = zip_of(inner)
    path.write_bytes(head_bytes(own, estimator))


def nodes(tree):
    """Every node of skops's schema."""
    if isinstance(tree, dict):
        if "__loader__" in tree:
            yield tree
        for child in tree.values():
            yield from nodes(child)
    elif isinstance(tree, list):
        for child in tree:
            yield from nodes(child)

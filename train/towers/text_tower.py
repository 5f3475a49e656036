"""The text side of a model by itself: encoder, projection, and what only its own training needs.

Legend: B texts, S text tokens (padded), D encoder width, P joint width, V vocabulary, M masked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protclip_core.encoders.projection import ProjectionForm, SkipProjection, initialise_skip
from train.towers.two_towers import bert_fields, initialise_bert, make_bert, mean_of_tokens

__all__ = ["Masking", "TextTower", "encode_rows", "start_words", "tower_config"]

#: Rows of similar length go through the encoder together, in so many groups.
_GROUPS = 4


class TextTower(nn.Module):
    """A text encoder and its projection, with a masked-word head tied to the word vectors.

    Parameters
    ----------
    vocab_size, hidden_dim, num_layers, num_heads, max_tokens
        Shape of the encoder.
    projection_dim
        P.
    form
        Of the projection.

    Notes
    -----
    Tensors of ``text_encoder`` and ``text_projection`` are named as in a bundle.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        hidden_dim: int,
        num_layers: int,
        num_heads: int,
        max_tokens: int,
        projection_dim: int,
        form: ProjectionForm,
    ) -> None:
        super().__init__()
        self.projection_dim, self.form = projection_dim, form
        self.text_encoder = make_bert(
            vocab_size=vocab_size,
            hidden_dim=hidden_dim,
            num_layers=num_layers,
            num_heads=num_heads,
            max_tokens=max_tokens,
        )
        initialise_bert(self.text_encoder)
        self.text_projection = SkipProjection(hidden_dim, projection_dim, form.hidden_dim)
        initialise_skip(self.text_projection)
        self.word_head = nn.Sequential(
            nn.Linear(hidden_dim, hidden_dim), nn.GELU(), nn.LayerNorm(hidden_dim)
        )
        self.word_bias = nn.Parameter(torch.zeros(vocab_size))
        # Learnt scales of the two contrasts, as logarithms.
        self.pair_scale = nn.Parameter(torch.full((1,), math.log(20.0)))
        self.place_scale = nn.Parameter(torch.full((1,), math.log(20.0)))

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return token vectors ``(B, S, D)`` and unit vectors ``(B, P)`` of texts."""
        hidden = self.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return hidden, F.normalize(self.text_projection(mean_of_tokens(hidden, mask)), dim=-1)

    def words(self, hidden: Tensor) -> Tensor:
        """Return logits ``(M, V)`` of the words at token vectors ``(M, D)``."""
        words = self.text_encoder.get_input_embeddings().weight
        width = hidden.shape[-1]
        found: Tensor = self.word_head(hidden) @ words.T * (8 / math.sqrt(width)) + self.word_bias
        return found

    def bundle_tensors(self) -> dict[str, Tensor]:
        """Return the tensors of a bundle."""
        rooms = ("text_encoder.", "text_projection.")
        return {n: v for n, v in self.state_dict().items() if n.startswith(rooms)}


def tower_config(tower: TextTower, name: str, max_tokens: int) -> dict[str, Any]:
    """Return the content of ``config.json`` of the bundle of a text tower."""
    return {
        "format": "protclip-bundle",
        "format_version": 1,
        "name": name,
        "license": "Apache-2.0",
        "projection_dim": tower.projection_dim,
        "projection": tower.form.to_dict(),
        "text_encoder": {
            "type": "bert",
            "max_tokens": max_tokens,
            **bert_fields(tower.text_encoder.config),
        },
    }


def encode_rows(
    tower: TextTower, rows: Sequence[Sequence[int]], pad: int, *, masking: Masking | None = None
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Encode texts in groups of similar length.

    Parameters
    ----------
    tower
        The model.
    rows
        Token ids of each text.
    pad
        Id of padding.
    masking
        What to hide; ``None`` for nothing.

    Returns
    -------
    Tensor
        Unit vectors ``(B, P)`` in the order of the rows.
    list
        Of each group, vectors ``(M, D)`` and ids ``(M,)`` of what was hidden.
    """
    order = np.argsort([len(row) for row in rows], kind="stable")
    parts, hidden_words = [], []
    for group in np.array_split(order, min(_GROUPS, len(order))):
        width = max(len(rows[i]) for i in group)
        ids = torch.full((len(group), width), pad)
        for place, i in enumerate(group):
            ids[place, : len(rows[i])] = torch.tensor(rows[i])
        mask = (ids != pad).long()
        shown, hides = ids, None
        if masking is not None:
            hides = masking.draw(ids, mask)
            shown = ids.masked_fill(hides, masking.id)
        hidden, vectors = tower(shown, mask)
        parts.append(vectors)
        if hides is not None:
            hidden_words.append((hidden[hides], ids[hides]))
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    return torch.cat(parts)[torch.from_numpy(back)], hidden_words


class Masking:
    """Which tokens of a batch are hidden.

    Parameters
    ----------
    id
        Of the mask token.
    share
        Of the tokens of a text that is masked.
    texts
        Share of the texts that are masked: the others are seen whole.
    special
        Ids below this are never hidden.
    generator
        Source of the random numbers.
    """

    def __init__(
        self, id: int, share: float, texts: float, special: int, generator: torch.Generator
    ) -> None:
        self.id, self.share, self.texts = id, share, texts
        self.special, self.generator = special, generator

    def draw(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return a ``(B, S)`` bool of what to hide."""
        rows = torch.rand(len(ids), 1, generator=self.generator) < self.texts
        tokens = torch.rand(ids.shape, generator=self.generator) < self.share
        return rows & tokens & (ids >= self.special) & mask.bool()


def start_words(tower: TextTower, documents: Sequence[Sequence[int]], seed: int) -> None:
    """Let the word vectors begin where latent semantic analysis of the corpus puts them.

    Rare words come out longer than frequent ones (by inverse document frequency), so that the
    mean over a text says from the first step what the text is about.

    Parameters
    ----------
    tower
        The model, changed in place; its positions and segments become small.
    documents
        Token ids of each text, without special tokens.
    seed
        Of the SVD's random start.
    """
    from sklearn.decomposition import TruncatedSVD

    weight = tower.text_encoder.get_input_embeddings().weight
    size, width = weight.shape
    owner = np.repeat(np.arange(len(documents)), [len(d) for d in documents])
    words = np.concatenate([np.asarray(d, dtype=np.int64) for d in documents])
    table = sp.csr_matrix((np.ones(len(words)), (owner, words)), shape=(len(documents), size))
    table.data[:] = 1
    spread = np.asarray(table.sum(axis=0)).ravel()
    rare = np.log(len(documents) / (spread + 1)).clip(0.3)
    kept = min(width, min(table.shape) - 1)
    svd = TruncatedSVD(kept, n_iter=3, random_state=seed).fit(table @ sp.diags(rare))
    found = svd.components_.T * np.sqrt(svd.singular_values_)
    found /= np.linalg.norm(found, axis=1, keepdims=True) + 1e-9
    found *= np.clip(rare / 6, 0.1, 1.5)[:, None]
    noise = np.random.default_rng(seed).normal(0, 0.003, weight.shape)
    noise[:, :kept] += found
    with torch.no_grad():
        weight.copy_(torch.from_numpy(noise))
        for name, parameter in tower.text_encoder.named_parameters():
            if "position_embeddings" in name or "token_type" in name:
                parameter.mul_(0.25)

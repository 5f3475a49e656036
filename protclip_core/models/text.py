"""A loaded text encoder: texts in, vectors out, whatever else is in the batch.

Legend: N texts, S tokens of one text (special ones counted), D width of the encoder, P joint
width.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protclip_core.errors import InputError, UsageError
from protclip_core.models.info import ModelInfo
from protclip_core.weights.tokenizer_file import tokenizer_errors

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = ["DEFAULT_TEXT_BATCH_TOKENS", "TextModel"]

_log = logging.getLogger(__name__)

#: Tokens that go through the encoder together.
DEFAULT_TEXT_BATCH_TOKENS = 4096


class TextModel:
    """A BERT encoder with its tokenizer and, in a ProtCLIP model, the projection.

    Get one from `load_text_model`. Its methods may be called from several threads at once.

    Parameters
    ----------
    info
        What the model is; ``info.text_encoder`` is its shape.
    module
        BertModel without pooling layer, float32.
    tokenizer
        Its tokenizer, as `read_tokenizer` returns it.
    weights_sha256
        Hash of the weights file.
    projection
        Into the joint space, if there is one; see `make_projection`.
    device
        Where it runs; products are float32.

    Examples
    --------
    >>> from protclip_core import load_text_model
    >>> model = load_text_model(device="cpu")
    >>> model.embed(["oxygen binding", "DNA repair"], space="joint").shape
    (2, 512)
    """

    def __init__(
        self,
        info: ModelInfo,
        module: nn.Module,
        tokenizer: Tokenizer,
        weights_sha256: str,
        projection: nn.Module | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = info.text_encoder
        assert shape is not None  # `require_text_encoder` sees to it
        self.info, self._pad = info, shape.pad_token_id
        self.device = torch.device(device)
        self.weights_sha256 = weights_sha256
        self.max_tokens = shape.max_tokens
        self.hidden_dim = shape.hidden_size
        # Elsewhere, one call for many short texts is worth more than not computing padding.
        self._equal_lengths = self.device.type == "cpu"
        self._module = module.to(self.device).eval()
        self._tokenizer = tokenizer
        self._projection = None if projection is None else projection.to(self.device).eval()
        self._special = int(tokenizer.num_special_tokens_to_add(is_pair=False))

    def embed(
        self,
        texts: Sequence[str],
        *,
        space: str = "encoder",
        batch_tokens: int = DEFAULT_TEXT_BATCH_TOKENS,
    ) -> npt.NDArray[np.float32]:
        """Embed texts, one vector each: the mean over its tokens, special ones counted.

        A vector does not depend on the other texts, beyond rounding in float32: on a CPU only
        texts of equal length go through together, elsewhere padding is masked and never counted.

        Parameters
        ----------
        texts
            Texts of any length; what is beyond `max_tokens` tokens is cut, with a warning.
        space
            ``"encoder"``, or ``"joint"`` for unit vectors to be compared with proteins.
        batch_tokens
            Tokens that go through the encoder together; only speed and memory depend on it.

        Returns
        -------
        numpy.ndarray
            Shape ``(N, D)`` or ``(N, P)``, float32, rows in input order.

        Raises
        ------
        InputError
            A text without a word, by its number.
        UsageError
            A single string instead of a list, or the joint space of a model without one.
        """
        width = self._width(space)
        rows = self.tokenize(texts)
        result = np.empty((len(rows), width), np.float32)
        lengths = [len(row) for row in rows]
        for group in _groups(lengths, batch_tokens, equal=self._equal_lengths):
            found = self._embed_group([rows[i] for i in group], space)
            result[group] = found.cpu().numpy()
        return result

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Turn texts into token ids, special tokens in, cut at `max_tokens`; as `embed` does."""
        if isinstance(texts, str):
            raise UsageError(
                "one string was given", code="usage.not_a_list", hint="give a list of texts"
            )
        rows: list[list[int]] = []
        cut: list[int] = []
        for number, text in enumerate(texts, start=1):
            encoding = self._encode(text, number)
            length = len(encoding.ids) + self._special
            if length > self.max_tokens:
                cut.append(length)
                encoding.truncate(self.max_tokens - self._special)
            with tokenizer_errors(f"cannot complete text {number}", str(self.info.path)):
                rows.append(self._tokenizer.post_process(encoding).ids)
        if cut:
            which = "1 text" if len(cut) == 1 else f"{len(cut):,} texts"
            longest = f", the longest of {max(cut):,}" if len(cut) > 1 else f" of {cut[0]:,}"
            _log.warning("%s cut to the first %s tokens%s", which, f"{self.max_tokens:,}", longest)
        return rows

    def pieces(self, text: str) -> list[tuple[str, list[str]]]:
        """Return the words of a text as they stand in it, each with the tokens that it is cut into.

        Raises
        ------
        InputError, UsageError
            As `embed`.
        """
        encoding, found = self._encode(text, 1), dict[int, tuple[int, int, list[str]]]()
        for token, word, (start, end) in zip(encoding.tokens, encoding.word_ids, encoding.offsets):
            if word is not None:
                first, _, tokens = found.setdefault(word, (start, end, []))
                found[word] = first, end, [*tokens, token]
        return [(text[start:end], tokens) for start, end, tokens in found.values()]

    def _encode(self, text: str, number: int) -> Encoding:
        """Split one text into tokens, without the special ones."""
        if not isinstance(text, str):
            raise UsageError(
                f"text {number} is a {type(text).__name__}, not a string", code="usage.not_text"
            )
        # Half of a pair of surrogates is no character; a pair that was split is one again.
        whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        with tokenizer_errors(f"cannot split text {number}", str(self.info.path)):
            encoding = self._tokenizer.encode(whole, add_special_tokens=False)
        if not whole.strip() or not encoding.ids:
            raise InputError(
                "has no words", code="input.empty_text", where=f"text {number}", hint="leave it out"
            )
        return encoding

    def _width(self, space: str) -> int:
        if space == "encoder":
            return self.hidden_dim
        if space != "joint":
            raise UsageError(
                f"space {space!r} is not known",
                code="usage.unknown_value",
                hint="use encoder or joint",
            )
        if self._projection is None:
            raise UsageError(
                f"model {self.info.name} has no joint space",
                code="usage.no_joint_space",
                hint="use the encoder's space or a ProtCLIP model",
            )
        return cast(int, self.info.joint_dim)

    @torch.inference_mode()
    def _embed_group(self, rows: list[list[int]], space: str) -> Tensor:
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self._pad)
        lengths = torch.tensor([len(row) for row in rows])
        for place, row in zip(ids, rows, strict=True):
            place[: len(row)] = torch.tensor(row)
        ids, lengths = ids.to(self.device), lengths.to(self.device)
        inside = torch.arange(longest, device=self.device) < lengths.unsqueeze(1)
        padded = bool(min(map(len, rows)) < longest)
        hidden = self._module(
            input_ids=ids, attention_mask=inside.long() if padded else None
        ).last_hidden_state
        # A product with 0 would let NaN of the padding through.
        total = hidden.masked_fill(~inside.unsqueeze(-1), 0.0).sum(dim=1)
        pooled = total / lengths.unsqueeze(1)
        if space == "encoder":
            return cast(Tensor, pooled)
        assert self._projection is not None
        projected: Tensor = self._projection(pooled)
        return F.normalize(projected, dim=-1)


def _groups(lengths: Sequence[int], batch_tokens: int, *, equal: bool) -> Iterator[list[int]]:
    """Cut texts, sorted by length, into groups; ``equal`` allows only one length in a group.

    A group is at most ``batch_tokens`` with its padding, or a single text.
    """
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        length = lengths[index]
        full = (len(group) + 1) * length > batch_tokens
        if group and (full or (equal and length != lengths[group[0]])):
            yield group
            group = []
        group.append(index)
    if group:
        yield group

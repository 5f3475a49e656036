"""``tokenizer.json`` of a text encoder, which may come from anyone.

The tokenizers library has parts that run patterns of the file's own, make texts a thousand times
longer, or end the process on bad data. A BERT needs none of these: what is read is an allow-list
of parts, by name, and the numbers in them are checked before the library sees the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from protclip_core.errors import ModelError
from protclip_core.io.json_fields import one_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["MOST_TOKENIZER_BYTES", "read_tokenizer", "tokenizer_errors"]

#: A vocabulary of 250,000 tokens in several scripts takes 10 million.
MOST_TOKENIZER_BYTES = 50_000_000
_NORMALIZERS = {"BertNormalizer", "Lowercase", "StripAccents", "NFC", "NFD", "NFKC", "NFKD"}
_PRE_TOKENIZERS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit", "Punctuation"}
_POST_PROCESSORS = {"BertProcessing", "TemplateProcessing"}
_DECODERS = {"WordPiece"}
#: Parts of one sequence, tokens of a template, letters of the mark of a continued word.
_MOST_PARTS = 16
#: Letters of a word beyond which it is unknown: 100 in BERT. Longer ones take time squared.
_MOST_LETTERS = 1_000


def read_tokenizer(data: bytes, vocab_size: int, max_tokens: int, where: str) -> Tokenizer:
    """Read ``tokenizer.json``; what it says about padding and cutting is not followed.

    Parameters
    ----------
    data
        Content of the file.
    vocab_size, max_tokens
        Words that its text encoder knows, and tokens of the longest text.
    where
        File for messages.

    Raises
    ------
    ModelError
        No tokenizer, one with a part that a BERT does not need (named), or one that gives ids
        beyond the encoder's vocabulary.
    """
    from tokenizers import Tokenizer

    _check_parts(data, vocab_size, where)
    with tokenizer_errors("is not a readable tokenizer", where):
        tokenizer = Tokenizer.from_buffer(data)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    ids = tokenizer.get_vocab(with_added_tokens=True).values()
    if not ids or max(ids) >= vocab_size:
        raise ModelError(
            f"its {len(ids):,} tokens do not fit the {vocab_size:,} of the text encoder",
            code="model.bad_tokenizer",
            where=where,
        )
    if tokenizer.num_special_tokens_to_add(is_pair=False) >= max_tokens:
        raise ModelError(
            "adds more special tokens than a text may have", code="model.bad_tokenizer", where=where
        )
    return tokenizer


@contextmanager
def tokenizer_errors(what: str, where: str) -> Iterator[None]:
    """Turn whatever the tokenizers library raises into a `ModelError` that begins with ``what``."""
    try:
        yield
    except BaseException as error:
        # What ends its compiled code comes as a class of its own beside Exception, which cannot
        # be imported.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = one_line(str(error).rpartition(": ")[2], 120) or type(error).__name__
        raise ModelError(
            f"{what} ({reason})", code="model.bad_tokenizer", where=where, hint=_DAMAGED
        ) from error


_DAMAGED = "the copy is damaged: fetch or install the model again"


def _check_parts(data: bytes, vocab_size: int, where: str) -> None:
    """Look at every part of the file before the library does."""
    fault = "more than 50 MB" if len(data) > MOST_TOKENIZER_BYTES else None
    if fault is None:
        try:
            content = json.loads(data)
            fault = next(_faults(content, vocab_size), None)
        except RecursionError:
            fault = "too many brackets"
        except ValueError as error:
            fault = f"no JSON: {error}"
        # Any other layout than that of the library, in whatever place.
        except (AttributeError, KeyError, TypeError, IndexError) as error:
            fault = f"laid out otherwise: {type(error).__name__} {error}"
    if fault is not None:
        raise ModelError(
            f"is not a readable tokenizer ({one_line(fault, 120)})",
            code="model.bad_tokenizer",
            where=where,
            hint="a text encoder needs the tokenizer of a BERT, undamaged",
        )


def _faults(content: dict[str, Any], vocab_size: int) -> Iterator[str]:
    yield from _model_faults(content.get("model"))
    for name, known in (("normalizer", _NORMALIZERS), ("pre_tokenizer", _PRE_TOKENIZERS)):
        parts = _flat(content.get(name), f"{name}s" if name == "normalizer" else "pretokenizers")
        if len(parts) > _MOST_PARTS:
            yield f"more than {_MOST_PARTS} {name}s"
        yield from _unknown(name, parts, known)
    for name, known in (("post_processor", _POST_PROCESSORS), ("decoder", _DECODERS)):
        yield from _unknown(name, _flat(content.get(name), ""), known)
    for token in content.get("added_tokens") or []:
        if not isinstance(token["content"], str) or not token["content"]:
            yield "an added token without text"
    processor = content.get("post_processor")
    if processor is not None:
        ids = _special_ids(processor)
        if len(ids) > _MOST_PARTS:
            yield f"more than {_MOST_PARTS} special tokens around a text"
        for number in ids:
            if type(number) is not int or not 0 <= number < vocab_size:
                yield f"its post_processor adds token {number!r} of {vocab_size:,}"
    if processor is not None and processor["type"] == "TemplateProcessing":
        texts = sum("Sequence" in piece for piece in processor["single"])
        if texts != 1:
            yield f"its post_processor puts {texts} texts in place of one"


def _model_faults(model: Any) -> Iterator[str]:
    kind = model.get("type") if isinstance(model, dict) else None
    if kind != "WordPiece":
        yield f"its model is {kind!r}, not WordPiece"
        return
    vocab, unknown = model["vocab"], model["unk_token"]
    if not isinstance(vocab, dict) or unknown not in vocab:
        yield f"its vocabulary lacks the unknown token {unknown!r}"
    most = model["max_input_chars_per_word"]
    if type(most) is not int or not 1 <= most <= _MOST_LETTERS:
        yield f"max_input_chars_per_word is {most!r}, not from 1 to {_MOST_LETTERS:,}"
    prefix = model["continuing_subword_prefix"]
    if not isinstance(prefix, str) or len(prefix) > _MOST_PARTS:
        yield f"continuing_subword_prefix is {prefix!r}"


def _flat(part: Any, inner: str) -> list[Any]:
    """Return a part as a list: what a sequence of parts holds, else the part; empty for none."""
    if part is None:
        return []
    return list(part[inner]) if inner and part["type"] == "Sequence" else [part]


def _unknown(name: str, parts: list[Any], known: set[str]) -> Iterator[str]:
    for part in parts:
        if part["type"] not in known:
            yield f"its {name} is {part['type']!r}; protclip knows {', '.join(sorted(known))}"


def _special_ids(processor: dict[str, Any]) -> list[Any]:
    """Return the ids that a post-processor puts around one text."""
    if processor["type"] == "BertProcessing":
        return [processor["sep"][1], processor["cls"][1]]
    special = processor["special_tokens"]
    return [
        number
        for template in (processor["single"], processor["pair"])
        for piece in template
        if "SpecialToken" in piece
        for number in special[piece["SpecialToken"]["id"]]["ids"]
    ]

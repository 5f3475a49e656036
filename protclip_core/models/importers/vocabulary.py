"""Vocabularies of BERT models: ``vocab.txt`` into ``tokenizer.json``, or into residues.

The tokenizer that is made here gives the same ids as BertTokenizer of transformers.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protclip_core.encoders.shapes import read_shapes
from protclip_core.errors import ModelError, UsageError
from protclip_core.fetch.needed_files import refuse_remote_code
from protclip_core.io.json_fields import one_line
from protclip_core.models.importers.configs import read_config
from protclip_core.weights.file_kinds import describe_content
from protclip_core.weights.tokenizer_file import MOST_TOKENIZER_BYTES

__all__ = [
    "check_special_tokens",
    "find_vocabulary",
    "in_order",
    "is_of_residues",
    "read_tokens",
    "tokenizer_bytes",
]

_log = logging.getLogger(__name__)

VOCAB, TOKENIZER, OPTIONS = "vocab.txt", "tokenizer.json", "tokenizer_config.json"
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_RESIDUES = frozenset("ACDEFGHIKLMNPQRSTVWY")
#: Where bert-base-uncased, which has as many tokens as PubMedBERT, has its special ones.
_BERT_BASE = {"[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
_FLAGS = ("do_lower_case", "tokenize_chinese_chars", "strip_accents")


def find_vocabulary(folder: Path, given: Path | None) -> Path | None:
    """Find ``tokenizer.json`` or ``vocab.txt``: what the user gave, else what is in ``folder``.

    Parameters
    ----------
    given
        A file, or a folder with one of the two.

    Raises
    ------
    UsageError
        What the user gave is not there.
    """
    place = folder if given is None else given
    if given is not None and given.is_file():
        return given
    for name in (TOKENIZER, VOCAB):
        if (place / name).is_file():
            return place / name
    if given is not None:
        raise UsageError(
            "no such file" if not given.exists() else f"no {TOKENIZER} or {VOCAB} in it",
            code="usage.no_such_file",
            where=str(given),
            hint="give the vocab.txt or tokenizer.json of the text encoder",
        )
    return None


def read_tokens(path: Path) -> dict[str, int]:
    """Read the tokens of ``vocab.txt`` or ``tokenizer.json`` with their ids.

    Raises
    ------
    ModelError
        No vocabulary of BERT.
    """
    _check_size(path)
    if path.suffix == ".json":
        model = read_config(path).get("model")
        vocab = model.get("vocab") if isinstance(model, dict) else None
        if not isinstance(vocab, dict) or not all(isinstance(i, int) for i in vocab.values()):
            raise ModelError("holds no vocabulary", code="model.bad_vocabulary", where=str(path))
        tokens: dict[str, int] = vocab
    else:
        try:
            with path.open(encoding="utf-8") as file:
                # As BertTokenizer reads it: of equal lines the last one counts.
                tokens = {line.rstrip("\n"): number for number, line in enumerate(file)}
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(
                f"is not a vocabulary (it looks like {describe_content(path)})",
                code="model.bad_vocabulary",
                where=str(path),
            ) from error
    lacking = [token for token in _SPECIAL if token not in tokens]
    if lacking:
        looks = describe_content(path)
        known = "" if looks.startswith("no kind") else f" (it looks like {looks})"
        raise ModelError(
            f"is not a BERT vocabulary, it lacks {', '.join(lacking[:3])}{known}",
            code="model.bad_vocabulary",
            where=str(path),
        )
    return tokens


def _check_size(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelError(
            f"cannot be read ({error.strerror})", code="model.unreadable", where=str(path)
        ) from error
    if size > MOST_TOKENIZER_BYTES:
        raise ModelError(
            f"is not a vocabulary: it has {size:,} bytes", code="model.too_large", where=str(path)
        )


def check_special_tokens(path: Path, encoder: Mapping[str, Any]) -> list[str]:
    """Compare a vocabulary with what its text encoder says of it, which is not much.

    Parameters
    ----------
    path
        ``vocab.txt`` or ``tokenizer.json``.
    encoder
        ``text_encoder`` of the bundle.

    Returns
    -------
    list of str
        Notes for the user, see `Imported.notes`.

    Raises
    ------
    ModelError
        A special token is missing, or the padding is not where the encoder has it.
    """
    tokens = read_tokens(path)
    if tokens["[PAD]"] != encoder["pad_token_id"]:
        raise ModelError(
            f"[PAD] is token {tokens['[PAD]']}, that of the text encoder {encoder['pad_token_id']}",
            code="model.bad_vocabulary",
            where=str(path),
            hint="give the tokenizer that the text encoder was trained with",
        )
    if _BERT_BASE.items() <= tokens.items():
        _log.warning(
            "%s: has its special tokens where bert-base-uncased has them; this text encoder was "
            "trained with the vocabulary of PubMedBERT, another one of the same size",
            path,
        )
    return ["took its vocabulary on trust: the weights do not tell it, it must be PubMedBERT's"]


def is_of_residues(tokens: Mapping[str, int]) -> bool:
    """Whether a vocabulary is one of amino acids, a letter each, as ProtBERT's is."""
    plain = {token for token in tokens if not (token.startswith("[") and token.endswith("]"))}
    return plain >= _RESIDUES and all(len(token) == 1 for token in plain)


def tokenizer_bytes(path: Path, encoder: Mapping[str, Any]) -> tuple[bytes, list[Path]]:
    """Make the content of a bundle's ``tokenizer.json``.

    Parameters
    ----------
    path
        ``vocab.txt`` (with ``tokenizer_config.json`` next to it, if there is one), or a
        ``tokenizer.json``, which is taken as it is.
    encoder
        ``text_encoder`` of the bundle.

    Returns
    -------
    tuple
        The content, and the files that it was made from.

    Raises
    ------
    ModelError
        No tokenizer, or one of another size than the encoder's vocabulary.
    """
    from protclip_core.weights.tokenizer_file import read_tokenizer

    sources = [path]
    _check_size(path)
    if path.suffix == ".json":
        data = path.read_bytes()
        shape = read_shapes({"text_encoder": encoder}, str(path)).text_encoder
        assert shape is not None
        tokenizer = read_tokenizer(data, shape.vocab_size, shape.max_tokens, str(path))
        size = tokenizer.get_vocab_size(with_added_tokens=True)
    else:
        options_file = path.parent / OPTIONS
        options: dict[str, Any] = {}
        if options_file.is_file():
            options = read_config(options_file)
            refuse_remote_code(options, str(options_file))
            for name in _FLAGS:
                if not isinstance(options.get(name), bool | None):
                    shown = one_line(repr(options[name]), 60)
                    raise ModelError(
                        f"{name} is {shown}, not true or false",
                        code="model.bad_field",
                        where=str(options_file),
                    )
            sources.append(options_file)
        tokens = read_tokens(path)
        size = max(tokens.values()) + 1
        data = _from_tokens(tokens, options)
    if size != encoder["vocab_size"]:
        raise ModelError(
            f"tokenizer has {size:,} tokens, the text encoder {encoder['vocab_size']:,}",
            code="model.bad_tokenizer",
            where=str(path),
            hint="give the tokenizer that the text encoder was trained with",
        )
    return data, sources


def _from_tokens(tokens: Mapping[str, int], options: Mapping[str, Any]) -> bytes:
    from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece

    tokenizer = Tokenizer(WordPiece(dict(tokens), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(options.get("tokenize_chinese_chars", True)),
        strip_accents=options.get("strip_accents"),
        lowercase=bool(options.get("do_lower_case", True)),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    # A special token that is written out in a text counts as such, as in transformers.
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token in sorted(_SPECIAL, key=lambda token: tokens[token])
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokens[token]) for token in ("[CLS]", "[SEP]")],
    )
    # Through json, so that the file is laid out like the others of a bundle.
    content = json.loads(tokenizer.to_str())
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()


def in_order(tokens: Mapping[str, int], where: str) -> Sequence[str]:
    """Return the tokens in the order of their ids.

    Raises
    ------
    ModelError
        The ids are not 0, 1, 2, ….
    """
    ordered = sorted(tokens, key=lambda token: tokens[token])
    if [tokens[token] for token in ordered] != list(range(len(ordered))):
        raise ModelError(
            "vocabulary has gaps or a token twice", code="model.bad_vocabulary", where=where
        )
    return ordered

"""Texts that a model makes some vector of, although it knows none of their words.

A tokenizer cuts any text into pieces that it knows, down to single letters, and a model makes a
vector of them: the best protein for "xxxxqqq zzz" has a cosine like that for a real word. A word
counts as known where it is one piece, where one of its pieces has five letters or more
("haemoglobin" has "oglobin"), or where it is in the name of a term of the model's own index.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from protclip_core.errors import ModelError
from protclip_core.records import printable
from protclip_core.terms.index_file import INDEX_FILE, find_go_index

if TYPE_CHECKING:
    from protclip_core.models.text import TextModel

__all__ = ["tell_unknown_words", "texts_without_known_words"]

_log = logging.getLogger(__name__)

_LEAST, _LONG_PIECE = 3, 5
_WORDS = re.compile(r"[^\W_]+")
_NEGATION = re.compile(r"(?:^|\s)(no|not|non|without|except|neither|nor|never)\s", re.IGNORECASE)


def texts_without_known_words(model: TextModel, texts: Iterable[str]) -> list[str]:
    """Return the texts of which the model knows no word, in their order.

    Examples
    --------
    >>> from protclip_core import load_text_model
    >>> texts_without_known_words(load_text_model(), ["zinc transport", "xxxxqqq zzz"])
    ['xxxxqqq zzz']
    """
    strange = [text for text in texts if not any(_is_known(*one) for one in model.pieces(text))]
    named = _words_of_index(model) if strange else set()
    return [text for text in strange if not named.intersection(_WORDS.findall(text.lower()))]


def tell_unknown_words(model: TextModel, texts: Sequence[str]) -> None:
    """Warn of texts without a known word, and of words that a mean over words does not heed."""
    if strange := texts_without_known_words(model, texts):
        more = f" (and {len(strange) - 1:,} more texts)" if len(strange) > 1 else ""
        _log.warning(
            "'%s'%s: no word of it is known to the model, so its cosines mean nothing",
            printable(strange[0], 60),
            more,
        )
    if denied := [text for text in texts if _NEGATION.search(text)]:
        more = f" (and {len(denied) - 1:,} more texts)" if len(denied) > 1 else ""
        _log.warning(
            "'%s'%s: the model does not understand negation; what the other words say is found",
            printable(denied[0], 60),
            more,
        )


def _is_known(word: str, tokens: Sequence[str]) -> bool:
    if not any(letter.isalpha() for letter in word):
        return False
    if len(tokens) == 1 and len(word) >= _LEAST:
        return tokens[0].lower().removeprefix("##") == word.lower()
    return max(len(token.removeprefix("##")) for token in tokens) >= _LONG_PIECE


def _words_of_index(model: TextModel) -> set[str]:
    """Return the words in names of terms of the model's own index; none where it has none."""
    bundle = model.info.bundle
    if bundle is None or INDEX_FILE not in bundle.files:
        return set()
    try:
        names = find_go_index(model.info).ontology.names
    except ModelError as error:
        _log.debug("%s", error)
        return set()
    found = {word for name in names for word in _WORDS.findall(name.lower())}
    return {word for word in found if len(word) >= _LEAST and not word.isdecimal()}

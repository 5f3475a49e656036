"""Vectors of texts that are kept: a batch of one text is a batch as well."""

import numpy as np
import torch
from tokenizers import Tokenizer

from tests.train.launch import CONFIGS
from train.data.composer import TextComposer
from train.data.text_variants import open_variants, write_variants


class OnePair:
    """A source of a single protein."""

    lengths = np.array([30])

    def parts(self, row):
        assert row == 0
        return [("PROTEIN NAME", [[7, 8, 9]])]

    def accession(self, row):
        return "P00001"


def test_a_single_text_is_kept(tmp_path):
    texts = TextComposer(Tokenizer.from_file(str(CONFIGS / "debug" / "tokenizer.json")), 32)

    def encode(ids, mask):
        return torch.full((len(ids), 4), 0.5) * mask.any(dim=1, keepdim=True)

    facts = {"of": "a test"}
    write_variants(tmp_path, facts, OnePair(), texts, encode, number=1, width=4, seed=0)
    found = open_variants(tmp_path, facts)
    assert found.vectors.shape == (1, 1, 4) and found.keys.shape == (1, 1)
    assert np.all(np.array(found.vectors) == 0.5)

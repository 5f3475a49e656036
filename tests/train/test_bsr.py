"""Masked segments: how they are drawn, and how they are restored with the help of the text."""

import itertools
import math
from collections import Counter

import pytest
import torch

from protclip_core.encoders.alphabet import BOS, EOS, MASK
from protclip_core.encoders.packing import pack_sequences
from protclip_core.encoders.residue_heads import ResidueHead, SegmentDecoder
from tests.train.tiny_towers import TinyTowers, examples, gradient_of
from train.data.masking import IGNORED, mask_segments
from train.objectives.bsr import bsr_loss

WIDTH, VOCABULARY = 4, 33
SEQUENCES = ("MKTAYIAKQRWLE", "MK", "ACDEFGHIKLMNPQ", "A", "GGSGGSGGSGGSGGSGGSGGSGGSGGSGGSG")


def chosen_of(batch, *arguments, seed=0, **options):
    """Which residues are masked, one bool tensor (L,) a protein."""
    _, targets = mask_segments(
        batch, *arguments, generator=torch.Generator().manual_seed(seed), **options
    )
    return [part[1:-1] for part in (targets != IGNORED).split(batch.lengths)]


def runs_of(chosen):
    return [len(list(group)) for masked, group in itertools.groupby(chosen.tolist()) if masked]


def test_masked_batch_and_targets_belong_together_and_the_ends_stay():
    batch = pack_sequences(["ACDEFGHIKLMNPQRSTVWY" * 5, "MKLV" * 10])
    masked, targets = mask_segments(batch, generator=torch.Generator().manual_seed(0))
    chosen = targets != IGNORED
    assert (masked.tokens[chosen] == MASK).all()
    assert torch.equal(targets[chosen], batch.tokens[chosen])
    assert torch.equal(masked.tokens[~chosen], batch.tokens[~chosen])
    assert not (chosen & ((batch.tokens == BOS) | (batch.tokens == EOS))).any()
    assert masked.lengths == batch.lengths


@pytest.mark.parametrize("share", [0.0, 0.07, 0.15, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("longest", [1, 3, 10, 50])
def test_each_protein_is_masked_to_its_share_and_never_wholly(share, longest):
    lengths = (1, 2, 3, 5, 6, 7, 8, 13, 20, 100, 140, 333)
    batch = pack_sequences(["A" * length for length in lengths])
    for seed in range(5):
        for length, chosen in zip(lengths, chosen_of(batch, share, longest, seed=seed)):
            assert len(chosen) == length
            expected = min(math.ceil(round(share * length, 6)), length - 1)
            assert int(chosen.sum()) == expected


def test_runs_are_between_half_the_range_and_the_range():
    batch = pack_sequences(["A" * 4000])
    (chosen,) = chosen_of(batch)
    # Of about 80 runs, those that touch count as one, and one is cut.
    usual = Counter(runs_of(chosen))
    assert sum(number for length, number in usual.items() if length < 5) <= 1
    assert all(usual[length] > 0 for length in range(5, 11))
    assert sum(number for length, number in usual.items() if length <= 10) > 50


def test_all_arrangements_are_equally_likely():
    # Three runs of one residue, in six places.
    draws = 3000
    batch = pack_sequences(["ACDEFG"] * draws)
    patterns = Counter(tuple(c.tolist()) for c in chosen_of(batch, 0.5, 1))
    assert len(patterns) == math.comb(6, 3)
    expected = draws / math.comb(6, 3)
    assert all(abs(number - expected) < 5 * expected**0.5 for number in patterns.values())


def test_every_place_of_a_protein_is_masked_about_as_often():
    batch = pack_sequences(["A" * 60] * 2000)
    rate = torch.stack(chosen_of(batch)).float().mean(dim=0)
    # Runs cannot reach over the ends, which are therefore masked less often; but they are.
    assert float(rate[0]) > 0.01
    assert float(rate[-1]) == pytest.approx(float(rate[0]), abs=0.02)
    assert float(rate[10:50].min()) > 0.12
    assert float(rate[10:50].max()) < 0.21


def test_segments_repeat_with_the_same_seed_only():
    batch = pack_sequences(["ACDEFGHIKL" * 10])
    first, again, other = (chosen_of(batch, seed=seed)[0] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("arguments", [(-0.1,), (1.1,), (0.15, 0)])
def test_impossible_segments_are_refused(arguments):
    with pytest.raises(ValueError, match="share in"):
        mask_segments(pack_sequences(["ACD"]), *arguments)


class Case:
    """Small random inputs of `bsr_loss` in float64."""

    def __init__(self, sequences=SEQUENCES, share=0.3, text_tokens=5):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.decoder = SegmentDecoder(WIDTH).double()
            self.head = ResidueHead(WIDTH, WIDTH, VOCABULARY).double()
        draw = torch.Generator().manual_seed(1)
        self.batch, self.targets = mask_segments(
            pack_sequences(sequences), share, 3, torch.Generator().manual_seed(2)
        )
        count = int((self.targets != IGNORED).sum())
        self.residues = torch.randn(count, WIDTH, generator=draw, dtype=torch.float64)
        self.text = torch.randn(
            len(sequences), text_tokens, WIDTH, generator=draw, dtype=torch.float64
        )
        numbers = torch.randint(1, text_tokens + 1, (len(sequences), 1), generator=draw)
        self.mask = torch.arange(text_tokens) < numbers
        self.residues.requires_grad_()
        self.text.requires_grad_()
        weights = [*self.decoder.parameters(), *self.head.parameters()]
        self.leaves = [self.residues, self.text, *weights]

    def loss(self, residues=None, text=None):
        return bsr_loss(
            self.residues if residues is None else residues,
            self.targets,
            self.batch,
            self.text if text is None else text,
            self.mask,
            decoder=self.decoder,
            head=self.head,
        )


def naive_loss(case):
    """One masked residue after another looks into the real tokens of its protein's text."""
    decoder, total, count = case.decoder, 0.0, 0
    owner = [i for i, length in enumerate(case.batch.lengths) for _ in range(length)]
    for place, target in enumerate(case.targets.tolist()):
        if target == IGNORED:
            continue
        protein = owner[place]
        query = decoder.query(case.residues[count])
        words = [case.text[protein, s] for s in range(case.text.shape[1]) if case.mask[protein, s]]
        weight = [((query @ decoder.key(word)) / math.sqrt(WIDTH)).exp() for word in words]
        found = sum(w * decoder.value(word) for w, word in zip(weight, words)) / sum(weight)
        logits = case.head(found)
        total = total + logits.exp().sum().log() - logits[target]
        count += 1
    return total / count


def test_restoring_equals_its_definition_and_so_do_its_gradients():
    case = Case()
    assert case.targets.split(case.batch.lengths)[3].eq(IGNORED).all()
    found, expected = case.loss(), naive_loss(case)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, case.leaves), torch.autograd.grad(expected, case.leaves)
    )


def test_restoring_gradient_by_finite_differences():
    case = Case(sequences=("ACDEF", "MK"), text_tokens=3)
    assert torch.autograd.gradcheck(case.loss, (case.residues, case.text))


def test_text_padding_has_no_influence_and_no_gradient():
    case = Case()
    garbage = torch.where(case.mask.unsqueeze(-1), case.text, 1e4)
    assert not case.mask.all()
    torch.testing.assert_close(case.loss(text=garbage), case.loss(), rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(case.loss(), case.text)
    assert not gradient[~case.mask].any()
    assert gradient[case.mask].any()


def test_restoring_does_not_depend_on_the_order_of_the_proteins():
    case, order = Case(), [3, 1, 4, 0, 2]
    tokens = case.targets.split(case.batch.lengths)
    numbers = [int((part != IGNORED).sum()) for part in tokens]
    vectors = case.residues.split(numbers)
    found = bsr_loss(
        torch.cat([vectors[i] for i in order]),
        torch.cat([tokens[i] for i in order]),
        pack_sequences([SEQUENCES[i] for i in order]),
        case.text[order],
        case.mask[order],
        decoder=case.decoder,
        head=case.head,
    )
    torch.testing.assert_close(found, case.loss())


def test_residues_look_into_the_text_of_their_own_protein_only():
    case = Case()
    numbers = [int((t != IGNORED).sum()) for t in case.targets.split(case.batch.lengths)]
    (gradient,) = torch.autograd.grad(case.loss(), case.text)
    touched = gradient.flatten(1).any(dim=1)
    assert touched.tolist() == [number > 0 for number in numbers]


def test_a_batch_without_masked_residues_gives_zero_and_reaches_all_weights():
    case = Case(sequences=("A", "M"))
    assert len(case.residues) == 0
    loss = case.loss()
    loss.backward()
    assert float(loss.detach()) == 0.0
    # DistributedDataParallel waits for every parameter, also where there is nothing to learn.
    assert all(leaf.grad is not None and not leaf.grad.any() for leaf in case.leaves)


def test_inputs_that_do_not_fit_together_are_refused():
    case = Case()
    with pytest.raises(ValueError, match="residues for"):
        case.loss(residues=case.residues[1:])
    with pytest.raises(ValueError, match="for 5 proteins"):
        case.loss(text=case.text[1:])


@pytest.mark.parametrize("frozen", [False, True])
def test_restoring_reaches_both_encoders(frozen):
    model, pairs = TinyTowers(), examples()
    model.towers.text_encoder.requires_grad_(not frozen)
    batch, targets = mask_segments(pairs.proteins, generator=torch.Generator().manual_seed(0))
    loss = bsr_loss(
        model.residues(batch, targets != IGNORED),
        targets,
        batch,
        model.text_tokens(pairs),
        pairs.text_mask,
        decoder=model.heads.segment_decoder,
        head=model.heads.segment_head,
    )
    loss.backward()
    for part in ("towers.protein_encoder.layers.0.", "towers.protein_projection.",
                 "towers.text_projection.", "heads.segment_decoder.query.",
                 "heads.segment_decoder.value.", "heads.segment_head."):  # fmt: skip
        assert gradient_of(model, part) > 1e-9, part
    assert (gradient_of(model, "towers.text_encoder.") > 1e-9) == (not frozen)

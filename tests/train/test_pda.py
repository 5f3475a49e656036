"""Dynamic segments against their definition in loops."""

import math

import pytest
import torch

from protclip_core.encoders.packing import pack_sequences
from protclip_core.encoders.residue_heads import PrototypeBank
from tests.train.tiny_towers import TinyTowers, examples, gradient_of
from train.objectives.pda import pda_loss, segment_vectors, segment_weights

WIDTH, PROPERTIES, PROTOTYPES = 4, 3, 5
SEQUENCES = ("MKTAYIA", "MK", "ACD", "A", "GSGG", "GGSG")
PRESENT = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]]).bool()


class Case:
    """Small random inputs of `pda_loss` in float64."""

    def __init__(self, sequences=SEQUENCES, present=PRESENT, dtype=torch.float64):
        draw = torch.Generator().manual_seed(0)
        self.bank = PrototypeBank(PROTOTYPES, WIDTH).to(dtype)
        self.batch = pack_sequences(sequences)
        shapes = (
            (PROTOTYPES, WIDTH),
            (len(self.batch.tokens), WIDTH),
            (len(sequences), PROPERTIES, WIDTH),
        )
        weight, self.residues, self.properties = (
            torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for shape in shapes
        )
        self.bank.weight.data = weight
        self.present = present
        self.scale = torch.tensor([10.0, 4.0], dtype=dtype, requires_grad=True)
        self.residues.requires_grad_()
        self.properties.requires_grad_()
        self.leaves = (self.residues, self.properties, self.scale, self.bank.weight)

    def loss(self, **changed):
        inputs = {"residues": self.residues, "batch": self.batch, "properties": self.properties}
        inputs |= {"present": self.present, "bank": self.bank, "scale": self.scale}
        return pda_loss(**inputs | changed)


def naive_prototype(vector, bank, temperature, noise=None):
    scores = [vector @ row for row in bank]
    if noise is not None:
        scores = [score + extra for score, extra in zip(scores, noise)]
    chances = [(score / temperature).exp() for score in scores]
    return sum(chance * row for chance, row in zip(chances, bank)) / sum(chances)


def naive_weights(prototype, residues, threshold):
    similar = [prototype @ residue for residue in residues]
    low, high = min(similar), max(similar)
    if float((high - low).detach()) < 1e-9:
        return [torch.ones((), dtype=prototype.dtype) / len(residues) for _ in residues]
    stretched = [(value - low) / (high - low) for value in similar]
    kept = [value if float(value.detach()) >= threshold else 0 * value for value in stretched]
    return [value / sum(kept) for value in kept]


def naive_loss(case, threshold=0.3, temperature=0.9, noise=None):
    def cosine(a, b):
        return (a @ b) / (a.norm() * b.norm())

    proteins, start = [], 0
    for i, length in enumerate(case.batch.lengths):
        residues = case.residues[start + 1 : start + length - 1]
        start += length
        there = [k for k in range(PROPERTIES) if case.present[i, k]]
        if len(there) < 2:
            continue
        prototypes, segments = {}, {}
        for k in there:
            drawn = None if noise is None else noise[i, k]
            vector = case.properties[i, k]
            prototypes[k] = naive_prototype(vector, case.bank.weight, temperature, drawn)
            weights = naive_weights(prototypes[k], residues, threshold)
            segments[k] = sum(w * residue for w, residue in zip(weights, residues))
        total = 0.0
        for k in there:
            for factor, anchor, others in (
                (case.scale[0], segments[k], prototypes),
                (case.scale[1], prototypes[k], segments),
            ):
                logits = {m: factor * cosine(anchor, others[m]) for m in there}
                total = total + sum(z.exp() for z in logits.values()).log() - logits[k]
        proteins.append(total / (2 * len(there)))
    return sum(proteins) / len(proteins)


def assert_same(found, expected, leaves):
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, leaves, allow_unused=True, materialize_grads=True),
        torch.autograd.grad(expected, leaves, allow_unused=True, materialize_grads=True),
    )


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.8, 1.0])
def test_segments_equal_their_definition_and_so_do_their_gradients(threshold):
    case = Case()
    assert_same(case.loss(threshold=threshold), naive_loss(case, threshold), case.leaves)


def test_the_noise_of_the_choice_is_that_of_gumbel_and_comes_from_the_generator():
    case = Case()
    noise = torch.empty(len(SEQUENCES), PROPERTIES, PROTOTYPES, dtype=torch.float64)
    noise = -noise.exponential_(generator=torch.Generator().manual_seed(5)).log()
    found = case.loss(gumbel=True, generator=torch.Generator().manual_seed(5), temperature=0.5)
    assert_same(found, naive_loss(case, temperature=0.5, noise=noise), case.leaves)
    other = case.loss(gumbel=True, generator=torch.Generator().manual_seed(6), temperature=0.5)
    assert float(other.detach()) != float(found.detach())


def test_gradient_by_finite_differences():
    case = Case(sequences=("MKTA", "MK"), present=PRESENT[:2])

    def loss(residues, properties, scale, weight):
        bank = PrototypeBank(PROTOTYPES, WIDTH)
        del bank.weight
        bank.weight = weight
        return case.loss(residues=residues, properties=properties, scale=scale, bank=bank)

    assert torch.autograd.gradcheck(loss, case.leaves)


def test_weights_are_those_of_the_definition():
    case = Case()
    weights = segment_weights(case.residues, case.properties, case.batch)
    assert weights.shape == (len(case.batch.tokens), PROPERTIES)
    for i, (part, vectors) in enumerate(
        zip(weights.split(case.batch.lengths), case.residues.split(case.batch.lengths))
    ):
        assert not part[0].any()
        assert not part[-1].any()
        assert (part >= 0).all()
        for k in range(PROPERTIES):
            expected = naive_weights(case.properties[i, k], vectors[1:-1], 0.3)
            torch.testing.assert_close(part[1:-1, k], torch.stack(expected))
    vectors = segment_vectors(case.residues, weights, case.batch)
    assert vectors.shape == (len(SEQUENCES), PROPERTIES, WIDTH)
    torch.testing.assert_close(
        vectors[3], case.residues.split(case.batch.lengths)[3][1].expand(3, 4)
    )


def test_absent_properties_have_no_influence_and_no_gradient():
    case = Case()
    garbage = torch.where(case.present.unsqueeze(-1), case.properties, float("nan"))
    torch.testing.assert_close(case.loss(properties=garbage), case.loss())
    (gradient,) = torch.autograd.grad(case.loss(), case.properties)
    taking_part = case.present & (case.present.sum(dim=1, keepdim=True) > 1)
    assert not gradient[~taking_part].any()
    assert gradient[taking_part].flatten(1).any(dim=1).all()


def test_bos_and_eos_have_no_influence():
    case = Case()
    ends = torch.zeros(len(case.residues), 1, dtype=torch.bool)
    starts = torch.tensor(case.batch.starts)
    ends[starts] = ends[starts + torch.tensor(case.batch.lengths) - 1] = True
    torch.testing.assert_close(
        case.loss(residues=case.residues.masked_fill(ends, 1e6)), case.loss()
    )


def test_proteins_with_fewer_than_two_properties_contribute_nothing():
    case = Case()
    enough = [0, 1, 3, 5]
    parts = case.residues.split(case.batch.lengths)
    without = case.loss(
        residues=torch.cat([parts[i] for i in enough]),
        batch=pack_sequences([SEQUENCES[i] for i in enough]),
        properties=case.properties[enough],
        present=PRESENT[enough],
    )
    torch.testing.assert_close(case.loss(), without)


@pytest.mark.parametrize("properties", [0, 1])
def test_a_batch_without_two_properties_of_a_protein_gives_zero(properties):
    present = torch.zeros(2, PROPERTIES, dtype=torch.bool)
    present[:, :properties] = True
    case = Case(sequences=("MKTA", "MK"), present=present)
    loss = case.loss()
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert all(leaf.grad is not None and not leaf.grad.any() for leaf in case.leaves)


def test_one_protein_alone():
    case = Case(sequences=SEQUENCES[:1], present=PRESENT[:1])
    assert_same(case.loss(), naive_loss(case), case.leaves)


def test_segments_do_not_depend_on_the_order_of_the_proteins():
    case, order = Case(), [4, 0, 5, 2, 1, 3]
    parts = case.residues.split(case.batch.lengths)
    found = case.loss(
        residues=torch.cat([parts[i] for i in order]),
        batch=pack_sequences([SEQUENCES[i] for i in order]),
        properties=case.properties[order],
        present=PRESENT[order],
    )
    torch.testing.assert_close(found, case.loss())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.0, 1.0, 1e4])
def test_residues_that_are_all_alike_share_equally_with_finite_gradients(dtype, size):
    case = Case(dtype=dtype)
    with torch.no_grad():
        case.residues.copy_(size * case.residues[0].expand_as(case.residues))
    weights = segment_weights(case.residues, case.properties, case.batch)
    torch.testing.assert_close(weights[1:8], torch.full((7, PROPERTIES), 1 / 7, dtype=dtype))
    loss = case.loss()
    loss.backward()
    # All segments are the same vector, so that nothing tells them apart.
    if size:
        one_way = [math.log(3), math.log(2), math.log(2), math.log(3)]
        assert float(loss.detach()) >= sum(one_way) / 8
    assert math.isfinite(float(loss.detach()))
    assert all(torch.isfinite(leaf.grad).all() for leaf in case.leaves)


def test_residues_alike_but_for_rounding_count_as_alike():
    draw = torch.Generator().manual_seed(3)
    batch, width = pack_sequences(["A" * 50]), 512
    row = torch.randn(width, generator=draw)
    jitter = torch.rand(52, width, generator=draw) * 2 - 1
    residues = row * (1 + 1e-7 * jitter)
    prototypes = torch.randn(1, 3, width, generator=draw)
    weights = segment_weights(residues, prototypes, batch)
    torch.testing.assert_close(weights[1:-1], torch.full((50, 3), 1 / 50))


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_impossible_thresholds_are_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        Case().loss(threshold=threshold)


def test_inputs_that_do_not_fit_together_are_refused():
    case = Case()
    with pytest.raises(ValueError, match="token vectors and properties"):
        case.loss(residues=case.residues[1:])
    with pytest.raises(ValueError, match=r"present \(B, K\)"):
        case.loss(present=PRESENT.T)
    with pytest.raises(ValueError, match="prototypes of 5 proteins"):
        segment_weights(case.residues, case.properties[1:], case.batch)


@pytest.mark.parametrize("text_gradient", [False, True])
def test_segments_reach_the_protein_encoder_and_the_text_encoder_where_it_has_a_gradient(
    text_gradient,
):
    model, pairs = TinyTowers(), examples()
    # The encoder frozen is what the paper's gradient-free encoding comes to.
    model.towers.text_encoder.requires_grad_(text_gradient)
    pda_loss(
        model.residues(pairs.proteins),
        pairs.proteins,
        model.properties(pairs),
        pairs.present,
        bank=model.heads.prototypes,
        scale=model.heads.segment_logit_scale.exp(),
        gumbel=True,
        generator=torch.Generator().manual_seed(0),
    ).backward()
    for part in ("towers.protein_encoder.layers.0.", "towers.protein_projection.",
                 "towers.text_projection.", "heads.prototypes.",
                 "heads.segment_logit_scale"):  # fmt: skip
        assert gradient_of(model, part) > 1e-9, part
    assert (gradient_of(model, "towers.text_encoder.") > 1e-9) == text_gradient

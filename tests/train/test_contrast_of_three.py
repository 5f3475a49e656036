"""Contrast of three modalities, against its definition in loops."""

import math

import pytest
import torch

from protclip_core.encoders.packing import pack_sequences
from tests.train.launch import Job
from tests.train.objectives_on_ranks import losses_with_a_bare_rank
from tests.train.test_gc import unit
from train.config.run import ObjectivesConfig
from train.data.batch import NO_KEY, Batch, View
from train.data.masking import Masked
from train.loop.evaluate import Modality, retrieval
from train.objectives.gc import contrastive_loss
from train.objectives.intra import IntraSequence, IntraStructure, IntraText
from train.objectives.objective import Context
from train.objectives.pairs import (
    SequenceStructure,
    SequenceText,
    StructureText,
    masked_contrast,
)

KEYS = torch.tensor([[7, 1], [8, 2], [7, 3], [NO_KEY, 2], [NO_KEY, NO_KEY], [9, NO_KEY]])


def naive(one, other, scale, keys):
    """Each protein against the partners of the others that share no key with it."""
    total = 0.0
    for left, right in ((one, other), (other, one)):
        for i in range(len(left)):
            terms = [
                (scale * (left[i] @ right[j])).exp()
                for j in range(len(right))
                if j == i or not any(a == b != NO_KEY for a, b in zip(keys[i], keys[j]))
            ]
            own = (scale * (left[i] @ right[i])).exp()
            total = total - (own / sum(terms)).log()
    return total / (2 * len(one))


def leaves(number=6):
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    one, other = (unit(number, 4, seed).requires_grad_() for seed in (0, 1))
    return one, other, scale


def test_it_equals_its_definition_and_so_do_its_gradients():
    one, other, scale = leaves()
    found = masked_contrast(one, other, scale=scale, keys=KEYS)
    expected = naive(one, other, scale, KEYS.tolist())
    torch.testing.assert_close(found, expected)
    both = (torch.autograd.grad(loss, (one, other, scale)) for loss in (found, expected))
    torch.testing.assert_close(*both)


def test_gradient_by_finite_differences():
    def loss(one, other, scale):
        return masked_contrast(one, other, scale=scale, keys=KEYS)

    assert torch.autograd.gradcheck(loss, leaves())


def test_without_keys_it_is_the_global_contrast():
    one, other, scale = leaves()
    found = masked_contrast(one, other, scale=scale, keys=torch.full((6, 2), NO_KEY))
    torch.testing.assert_close(found, contrastive_loss(one, other, scale=scale))


def test_a_false_negative_has_no_influence():
    """Of what is alike, neither pushes the other away: the loss is that without the other."""
    one, other, scale = leaves()
    keys = torch.arange(6).unsqueeze(1)
    keys[1] = 0
    found = masked_contrast(one, other, scale=scale, keys=keys)
    (gradient,) = torch.autograd.grad(found, one)
    # What protein 0 finds does not depend on where the partner of protein 1 is.
    moved = other.detach().clone()
    moved[1] = -moved[1]
    again = masked_contrast(one, moved, scale=scale, keys=keys)
    (other_gradient,) = torch.autograd.grad(again, one)
    torch.testing.assert_close(gradient[0], other_gradient[0])
    assert not torch.allclose(gradient[2], other_gradient[2])


def test_nothing_to_contrast_gives_zero_and_gradients_of_zero():
    one, other, scale = leaves(0)
    loss = masked_contrast(one, other, scale=scale, keys=torch.empty((0, 2), dtype=torch.int64))
    gradients = torch.autograd.grad(loss, (one, other, scale))
    assert float(loss.detach()) == 0.0
    assert not any(part.any() for part in gradients)


@pytest.mark.parametrize(
    "shapes", [((3, 4), (4, 4), (3, 2)), ((3, 4), (3, 4), (3,)), ((3, 4), (3, 4), (2, 2))]
)
def test_shapes_that_do_not_fit(shapes):
    one, other, keys = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match="need two"):
        masked_contrast(one, other, scale=1.0, keys=keys.long())


# Six proteins of which some lack a structure, some a text.
STRUCTURES, TEXTS = [0, 2, 3, 5], [0, 1, 3, 4, 5]
CLUSTERS = torch.tensor([7, 8, 7, NO_KEY, NO_KEY, 9])
TEXT_KEYS = torch.tensor([1, 2, 0, 2, 4, 5])


def batch(structures=STRUCTURES, texts=TEXTS):
    has_text = torch.zeros(6, dtype=torch.bool)
    has_text[texts] = True
    nothing = torch.empty((6, 0), dtype=torch.int64)
    view = View(None, None, nothing, nothing, torch.tensor([1, 2, 0, 3, 5, 5]))
    return Batch(
        masked=Masked(whole=pack_sequences(["MK"] * 6)),
        text_ids=nothing, text_mask=nothing, text_keys=TEXT_KEYS, property_ids=nothing,
        property_mask=nothing, present=nothing.bool(), go=nothing, tokens=24, pairs=6,
        clusters=CLUSTERS, has_text=has_text, structure_rows=torch.tensor(structures).long(),
        view=view,
    )  # fmt: skip


def outputs(structures=STRUCTURES):
    sizes = {"proteins": 6, "texts": 6, "structures": len(structures)}
    found = {}
    for seed, (name, size) in enumerate(sizes.items()):
        found[name] = unit(6, 4, seed)[:size].requires_grad_()
        found[f"{name}_view"] = unit(6, 4, seed + 10)[:size].requires_grad_()
    return found


def run(kind, given, vectors):
    objective = kind(ObjectivesConfig(pair_temperature=0.2)).double()
    return objective(given, vectors, Context(None))[kind.name]


PAIRS = [
    (SequenceStructure, "proteins", "structures", STRUCTURES, False),
    (SequenceText, "proteins", "texts", TEXTS, True),
    (StructureText, "structures", "texts", [0, 3, 5], True),
]


@pytest.mark.parametrize(("kind", "one", "other", "rows", "texts"), PAIRS)
def test_proteins_take_part_that_have_both_modalities(kind, one, other, rows, texts):
    vectors = outputs()
    found = run(kind, batch(), vectors)
    sides = [
        torch.stack([vectors[n][STRUCTURES.index(r) if n == "structures" else r] for r in rows])
        for n in (one, other)
    ]
    keys = [[int(CLUSTERS[r]), int(TEXT_KEYS[r]) if texts else NO_KEY] for r in rows]
    expected = naive(*sides, 5.0, keys)
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(found, [vectors[one], vectors[other]])
    for name, gradient in zip((one, other), gradients):
        inside = [STRUCTURES.index(r) for r in rows] if name == "structures" else rows
        outside = sorted(set(range(len(gradient))) - set(inside))
        assert gradient[inside].any(dim=1).all()
        assert not gradient[outside].any()


INTRA = [
    (IntraSequence, "proteins", range(6), []),
    (IntraStructure, "structures", STRUCTURES, []),
    (IntraText, "texts", TEXTS, [[1], [2], [0], [3], [5], [5]]),
]


@pytest.mark.parametrize(("kind", "name", "rows", "more"), INTRA)
def test_two_views_of_those_that_have_a_modality(kind, name, rows, more):
    vectors = outputs()
    found = run(kind, batch(), vectors)
    places = [STRUCTURES.index(r) if name == "structures" else r for r in rows]
    sides = (vectors[name][places], vectors[f"{name}_view"][places])
    keys = [
        [int(CLUSTERS[r]), int(TEXT_KEYS[r]) if more else NO_KEY, *(more[r] if more else [])]
        for r in rows
    ]
    torch.testing.assert_close(found, naive(*sides, 5.0, keys))


@pytest.mark.parametrize("kind", [SequenceStructure, StructureText, IntraStructure])
def test_a_batch_without_structures_contributes_nothing(kind):
    vectors = outputs([])
    found = run(kind, batch(structures=[]), vectors)
    found.backward()
    assert float(found.detach()) == 0.0
    used = [value.grad for value in vectors.values() if value.grad is not None]
    assert used
    assert not any(gradient.any() for gradient in used)


def test_a_temperature_stays_within_its_limit():
    objective = SequenceText(ObjectivesConfig()).double()
    objective.logit_scale.data.fill_(9.0)
    objective(batch(), outputs(), Context(None))
    assert objective.figures() == {"sequence_text_scale": pytest.approx(100.0)}
    assert SequenceText(ObjectivesConfig(pair_temperature=0.5)).figures() == {
        "sequence_text_scale": pytest.approx(2.0)
    }
    assert math.isclose(float(objective.logit_scale.detach()), math.log(100.0))


@pytest.mark.full(but="ddp")
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_rank_without_structures_keeps_step_with_the_others(tmp_path, parallel):
    found = {}
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        ended = Job(folder, losses_with_a_bare_rank, folder, parallel, ranks=ranks).wait()
        assert [e.code for e in ended] == [0] * ranks, ended
        found[ranks] = torch.load(folder / "found.pt")
    for form, one in found[1].items():
        two = found[2][form]
        assert one["loss"] > 0
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert one["gradients"].keys() == two["gradients"].keys()
        for name, gradient in one["gradients"].items():
            error = float((two["gradients"][name] - gradient).abs().max())
            assert error <= 2e-5 * float(gradient.abs().max()) + 1e-6, (form, name)


def test_six_directions_among_the_proteins_that_have_both():
    """Proteins 0 to 3; 1 has no text, 3 no structure; text 2 is found by nobody."""
    east, north, up = torch.eye(3)
    proteins = torch.stack([east, north, up, east])
    found = {
        "p": Modality(torch.arange(4), proteins),
        "s": Modality(torch.tensor([0, 1, 2]), torch.stack([east, north, up])),
        "t": Modality(torch.tensor([0, 2, 3]), torch.stack([east, -up, north])),
    }
    figures = retrieval(found, torch.tensor([1, 0, 2, 3]))
    assert figures["structures"] == 3
    assert (figures["p2s_r1"], figures["s2p_r1"]) == (1.0, 1.0)
    # Of 0, 2 and 3: protein 0 finds its own text; those of 2 and 3 are behind others.
    assert figures["p2t_r1"] == pytest.approx(1 / 3)
    # Of 0 and 2: structure 2 likes the text of 0 better.
    assert (figures["s2t_r1"], figures["t2s_r1"], figures["s2t_r10"]) == (0.5, 0.5, 1.0)
    alone = retrieval({name: found[name] for name in "pt"}, torch.tensor([1, 1, 1, 1]))
    # Texts that are all the same are not told apart.
    assert set(alone) == {"p2t_r1", "p2t_r10", "t2p_r1", "t2p_r10"}
    assert alone["p2t_r1"] == 1.0

"""Two processes with parts of a batch against one process with the whole of it.

Two ranks talk over gloo; the model is wrapped in DistributedDataParallel, as in training. What
counts is the average of the losses and the gradients that the wrapper has averaged.
"""

import datetime
import os
import warnings

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from tests.support.environment import patient
from tests.train.launch import Job
from tests.train.tiny_towers import TinyTowers, examples
from train.data.composer import hash_texts
from train.data.masking import IGNORED, mask_residues, mask_segments
from train.objectives.bsr import bsr_loss
from train.objectives.gc import contrastive_loss, distributed_contrastive_loss
from train.objectives.mlm import mlm_loss
from train.objectives.multi_positive import multi_positive_sigmoid, multi_positive_softmax
from train.objectives.pda import pda_loss

pytestmark = pytest.mark.full
RANKS, PAIRS, SECONDS = 2, 6, patient(60)
#: Where the batch is cut: evenly, unevenly, and with one rank that has all but one pair.
CUTS = (3, 2, 5)
OBJECTIVES = ("global", "local", "local without keys", "mlm", "bsr", "pda", "bank")


def loss_of(model, objective, first, last, ranks):
    """The loss of pairs ``first`` to ``last``; ``model`` may be wrapped."""
    pairs = examples(first, last)
    if objective in {"global", "local", "local without keys"}:
        keys = hash_texts(pairs.text_ids, pairs.text_mask) if "without" not in objective else None
        protein, text, scale = model("embeddings", pairs)
        form = objective.split()[0]
        return distributed_contrastive_loss(
            protein, text, scale=scale, ranks=ranks, text_keys=keys, form=form
        )
    if objective == "bank":
        protein, _, scale = model("embeddings", pairs)
        bank = torch.eye(9, 12, dtype=torch.float64)
        positive = torch.rand(PAIRS, 9, generator=torch.Generator().manual_seed(1)) < 0.2
        options = {"scale": scale, "positive": positive[first:last], "ranks": ranks}
        soft = multi_positive_softmax(protein, bank, **options)
        return soft + multi_positive_sigmoid(protein, bank, bias=-2.0, **options)
    return model("residue_loss", objective, pairs, masking(objective, first, last), ranks)


def masking(objective, first, last):
    """Mask the whole batch, and take out these pairs: the same residues however it is cut."""
    whole, generator = examples().proteins, torch.Generator().manual_seed(0)
    draw = mask_segments if objective == "bsr" else mask_residues
    _, targets = draw(whole, 0.3, generator=generator)
    return torch.cat(targets.split(whole.lengths)[first:last])


class Model(TinyTowers):
    """The towers with the losses of residues."""

    def residue_loss(self, objective, pairs, targets, ranks):
        batch = pairs.proteins
        if objective == "pda":
            return pda_loss(
                self.residues(batch), batch, self.properties(pairs), pairs.present,
                bank=self.heads.prototypes, scale=self.heads.segment_logit_scale.exp(),
                ranks=ranks,
            )  # fmt: skip
        chosen = targets != IGNORED
        if objective == "mlm":
            logits = self.heads.mlm(self.towers.protein_hidden(batch)[chosen])
            return mlm_loss(logits, targets[chosen], ranks=ranks)
        return bsr_loss(
            self.residues(batch, chosen), targets, batch, self.text_tokens(pairs),
            pairs.text_mask, decoder=self.heads.segment_decoder, head=self.heads.segment_head,
            ranks=ranks,
        )  # fmt: skip


def loss_and_gradients(model, objective, first, last, ranks=None):
    model.zero_grad()
    loss = loss_of(model, objective, first, last, ranks)
    loss.backward()
    gradients = {
        name.removeprefix("module."): parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return loss.detach(), {name: gradient.clone() for name, gradient in gradients.items()}


def work(folder):
    """All cases on one rank; rank 0 writes down what came out."""
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=RANKS,
        timeout=datetime.timedelta(seconds=SECONDS),
    )
    with warnings.catch_warnings():
        # Not each objective uses all parameters, nor the same from step to step.
        warnings.simplefilter("ignore")
        model = DistributedDataParallel(Model(), find_unused_parameters=True)
    found = {}
    for cut in CUTS:
        first, last = ((0, cut), (cut, PAIRS))[rank]
        for objective in OBJECTIVES:
            loss, gradients = loss_and_gradients(model, objective, first, last, dist.group.WORLD)
            losses = [torch.empty_like(loss) for _ in range(RANKS)]
            dist.all_gather(losses, loss)
            found[cut, objective] = (losses, gradients)
    found["nothing"] = nothing_on_one_rank(rank)
    if rank == 0:
        torch.save(found, f"{folder}/found.pt")
    dist.barrier()
    dist.destroy_process_group()


def nothing_on_one_rank(rank):
    """Losses of a batch whose pairs are all on rank 0, and what both refuse: no pairs at all."""
    losses = []
    for form in ("global", "local"):
        whole = vectors()
        inputs = [part if rank == 0 else part[:0] for part in whole]
        loss = distributed_contrastive_loss(*inputs, scale=5.0, ranks=dist.group.WORLD, form=form)
        loss.backward()
        gathered = [torch.empty_like(loss) for _ in range(RANKS)]
        dist.all_gather(gathered, loss.detach())
        losses.append((gathered, whole[0].grad))
    try:
        distributed_contrastive_loss(whole[0][:0], whole[1][:0], scale=5.0, ranks=dist.group.WORLD)
    except ValueError as error:
        return losses, str(error)
    return losses, "accepted"


def vectors():
    draw = torch.Generator().manual_seed(0)
    both = torch.randn(2, 4, 3, generator=draw, dtype=torch.float64)
    return [part.clone().requires_grad_() for part in both]


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """What rank 0 has written down."""
    folder = tmp_path_factory.mktemp("ranks")
    ended = Job(folder, work, str(folder), ranks=RANKS).wait()
    assert [e.code for e in ended] == [0] * RANKS, ended
    return torch.load(folder / "found.pt")


@pytest.fixture(scope="module")
def one_process():
    """Loss and gradients of the whole batch."""
    model = Model()
    found = {name: loss_and_gradients(model, name, 0, PAIRS) for name in OBJECTIVES}
    # The plain function, of which the rest of the tests know that it is right.
    protein, text, scale = model.embeddings(examples())
    pairs = examples()
    keys = hash_texts(pairs.text_ids, pairs.text_mask)
    same = keys.unsqueeze(0) == keys.unsqueeze(1)
    assert int(same.sum()) == PAIRS + 2
    plain = contrastive_loss(protein, text, scale=scale, same_text=same)
    torch.testing.assert_close(found["local"][0], plain.detach())
    return found


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_two_ranks_equal_one_process(two_ranks, one_process, objective, cut):
    losses, gradients = two_ranks[cut, objective]
    expected_loss, expected = one_process[objective]
    close = {"rtol": 1e-8, "atol": 1e-12}
    torch.testing.assert_close(torch.stack(losses).mean(), expected_loss, **close)
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, **close)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    assert largest > 1e-4
    encoders = {name.split(".")[1] for name, g in expected.items() if g.abs().max() > 1e-6}
    assert "protein_encoder" in encoders
    assert ("text_encoder" in encoders) == (objective not in {"mlm", "bank"})


def test_identical_texts_on_different_ranks_are_no_negatives(one_process):
    # Pairs 1 and 4 have the same text, and no cut leaves them on one rank but the last.
    difference = one_process["local"][0] - one_process["local without keys"][0]
    assert abs(float(difference)) > 1e-3


def test_all_ranks_return_the_global_form_alike_and_the_local_form_in_parts(two_ranks):
    first, second = two_ranks[2, "global"][0]
    assert float(first) == pytest.approx(float(second), rel=1e-12)
    first, second = two_ranks[2, "local"][0]
    assert abs(float(first - second)) > 1e-3


def test_a_rank_without_pairs_takes_part_and_a_batch_without_pairs_is_refused(two_ranks):
    results, message = two_ranks["nothing"]
    assert "at least one pair" in message
    whole = vectors()
    expected = contrastive_loss(*whole, scale=5.0)
    expected.backward()
    for losses, gradient in results:
        torch.testing.assert_close(torch.stack(losses).mean(), expected.detach())
        # Rank 0 has all of the pairs; its gradient is what DDP would halve.
        torch.testing.assert_close(gradient / RANKS, whole[0].grad)

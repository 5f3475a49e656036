"""Each objective by itself, in one process and on ranks: what the contract tests run."""

from __future__ import annotations

import dataclasses

import torch

from protclip_core.encoders.structure import PackedChains, pack_chains
from tests.train.launch import debug_config
from tests.train.with_structures import SHAPE, make_structures
from train.config.structure import StructureConfig
from train.data.batches import PairData
from train.loop.parallel import share_work
from train.loop.prepare import make_trainee, prepare
from train.loop.ranks import Ranks, join_ranks

#: Name of an objective, with its form, to settings.
FORMS = {
    "gc local": {"gc_form": "local"},
    "gc global": {"gc_form": "global"},
    "bsr": {},
    "mlm": {},
    "pda": {},
    "go softmax": {"go_form": "softmax"},
    "go sigmoid": {"go_form": "sigmoid"},
    "go prior": {"go_form": "prior", "go_text": "both"},
    "sequence_structure": {},
    "sequence_text": {},
    "structure_text": {},
    "intra_sequence": {},
    "intra_structure": {},
    "intra_text": {},
    "design": {},
}


def prepared(run_dir, form, ranks=None):
    """A trainee with one objective on, and its part of a batch of 11 pairs."""
    ranks, config = ranks or Ranks.alone(), debug_config()
    own = form.partition(" ")[0]
    weights = {n: (w or 1.0) if n == own else 0.0 for n, w in config.objectives.weights.items()}
    on = dataclasses.replace(config.objectives, **weights, gumbel=False, **FORMS[form])
    data = dataclasses.replace(config.data, max_pairs=11, texts="whole")
    structure = None
    if on.on_structures:
        file = make_structures(run_dir.with_suffix(".h5"))
        data = dataclasses.replace(data, structures=str(file), structure_crops=(20,))
        structure = StructureConfig(shape=SHAPE)
    if own == "intra_text":
        data = dataclasses.replace(data, texts="sample")
    config = dataclasses.replace(config, objectives=on, data=data, structure=structure)
    torch.manual_seed(0)
    alone = Ranks.alone()
    ready = prepare(config, run_dir, alone, data_path=None, go_path=None, resume=False)
    model = make_trainee(config, ready.vocab_size, ready.bank)
    model.refresh(0)
    seed, share = config.train.seed, {"rank": ranks.rank, "ranks": ranks.world}
    whole = ready.data
    part = PairData(whole.source, whole.texts, data, on, seed, **share)
    part.views = whole.views
    return model, part.batch(0, 1)


def losses_on_ranks(folder):
    """Losses and gradients of every form, averaged over the ranks; the first writes them down."""
    torch.set_num_threads(1)
    ranks, found = join_ranks(60.0, device="cpu"), {}
    for number, form in enumerate(FORMS):
        model, batch = prepared(folder / f"run{number}-{ranks.rank}", form, ranks)
        module = share_work(model, "ddp", ranks)
        losses = module(batch, ranks.group)
        losses["loss"].backward()
        table = ranks.table([float(loss.detach()) for loss in losses.values()])
        means = {name: sum(column) / len(table) for name, column in zip(losses, zip(*table))}
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found[form] = {"losses": means, "gradients": gradients}
    if ranks.first:
        torch.save(found, folder / "found.pt")
    ranks.part()


def losses_with_a_bare_rank(folder, parallel):
    """As `losses_on_ranks`, where no protein of the second rank has a structure."""
    torch.set_num_threads(1)
    ranks, found = join_ranks(60.0, device="cpu"), {}
    for number, form in enumerate(("sequence_structure", "structure_text", "intra_structure")):
        model, batch = prepared(folder / f"run{number}-{ranks.rank}", form, ranks)
        # Of two ranks, the second has the odd proteins of the whole batch.
        rows = batch.structure_rows
        kept = rows % 2 == 0 if ranks.world == 1 else torch.full_like(rows, ranks.rank) == 0
        places = kept.nonzero().squeeze(1).tolist()
        view = batch.view
        if view is not None and view.structures is not None:
            view = dataclasses.replace(view, structures=chosen_chains(view.structures, places))
        batch = dataclasses.replace(
            batch,
            structures=chosen_chains(batch.structures, places),
            structure_rows=batch.structure_rows[kept],
            view=view,
        )
        module = share_work(model, parallel, ranks)
        losses = module(batch, ranks.group)
        losses["loss"].backward()
        table = ranks.table([float(losses["loss"].detach())])
        gradients = {
            name: p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad
            for name, p in model.named_parameters()
            if p.grad is not None
        }
        mean = sum(row[0] for row in table) / len(table)
        found[form] = {"loss": mean, "gradients": gradients}
    if ranks.first:
        torch.save(found, folder / "found.pt")
    ranks.part()


def chosen_chains(chains, places):
    """Some of the chains of a batch, in this order."""
    if not places or not len(chains):
        return pack_chains([])
    first = torch.tensor([0, *chains.lengths]).cumsum(0)
    index = torch.cat([torch.arange(first[n], first[n + 1]) for n in places])
    parts = {n: getattr(chains, n)[index] for n in ("backbone", "residues", "starts", "confidence")}
    lengths = tuple(chains.lengths[n] for n in places)
    own = chains.descriptors
    return PackedChains(**parts, lengths=lengths, descriptors=None if own is None else own[places])

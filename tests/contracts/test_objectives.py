"""What every training objective promises, whatever it computes.

Each runs over the batches of the recipe for a first look, with the towers of that recipe.
(`tests/train/test_objectives_distributed.py` shows of the functions behind them that two ranks
equal one process in float64; `tests/train/test_ranks.py` does so of the whole trainer.)
"""

from __future__ import annotations

import dataclasses

import pytest
import torch

from protclip_core.encoders.packing import PackedTokens
from protclip_core.encoders.structure import pack_chains
from tests.train.launch import Job, debug_config
from tests.train.objectives_on_ranks import FORMS, chosen_chains, losses_on_ranks, prepared
from train.data.batch import View
from train.data.masking import IGNORED, Masked
from train.objectives.objective import Context
from train.objectives.registry import OBJECTIVES
from train.towers.passes import PASSES

NAMES = [*FORMS]
PARTS = ("logit_scale", "protein_projection", "text_projection", "text_encoder")
PARTS += ("structure_encoder", "structure_projection")
#: Contrasts of which each protein of a batch is its own label.
LABELLED = ("gc local", "gc global", "intra_sequence")


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """Trainee and batch of each form, made when a test asks for it."""
    made = {}

    def get(form):
        if form not in made:
            made[form] = prepared(tmp_path_factory.mktemp("run") / "run", form)
        return made[form]

    return get


def losses(model, batch):
    """What the one objective of a trainee finds, with noise that is always the same."""
    return model(batch, None, torch.Generator().manual_seed(0))


def test_every_objective_has_a_weight_a_form_and_a_name_of_its_own():
    weights = debug_config().objectives.weights
    assert OBJECTIVES.keys() == weights.keys() == {form.partition(" ")[0] for form in FORMS}
    assert all(name == kind.name for name, kind in OBJECTIVES.items())


@pytest.mark.parametrize("form", NAMES)
def test_losses_are_finite_float32_scalars(ready, form):
    model, batch = ready(form)
    (objective,) = model.objectives.values()
    found = losses(model, batch)
    assert {"loss", objective.name} <= found.keys()
    for name, value in found.items():
        assert (value.shape, value.dtype) == ((), torch.float32), name
        assert torch.isfinite(value), name
    own = found[objective.name].item()
    assert found["loss"].item() == pytest.approx(model.weights[objective.name] * own)
    assert found["loss"].item() > 0
    model.bf16 = True
    try:
        assert {value.dtype for value in losses(model, batch).values()} == {torch.float32}
    finally:
        model.bf16 = False


@pytest.mark.parametrize("form", NAMES)
def test_it_reads_what_it_says_and_moves_what_it_says(ready, form):
    model, batch = ready(form)
    (objective,) = model.objectives.values()
    outputs = {}
    for make in PASSES:
        outputs |= make(model.towers, batch, objective.reads)
    wanted = {name: outputs[name] for name in objective.reads}
    found = objective(batch, wanted, Context(model.towers, None, torch.Generator().manual_seed(0)))
    model.zero_grad()
    found[objective.name].backward()
    for part in PARTS:
        gradients = [
            float(parameter.grad.abs().max())
            for name, parameter in model.towers.named_parameters()
            if name.startswith(part) and parameter.grad is not None
        ]
        assert (max(gradients, default=0.0) > 0) == (part in objective.trains), part
    assert all(parameter.grad is not None for parameter in objective.parameters())


@pytest.mark.parametrize("form", [form for form in NAMES if form not in LABELLED])
def test_where_nothing_is_labelled_loss_and_gradient_are_zero(ready, form):
    model, batch = ready(form)
    nothing = unlabelled(batch)
    model.zero_grad()
    found = losses(model, nothing)
    found["loss"].backward()
    assert found["loss"].item() == 0
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(bool((gradient == 0).all()) for gradient in gradients)


def unlabelled(batch):
    masked = batch.masked
    targets = {
        name: None if value is None else torch.full_like(value, IGNORED)
        for name in ("residue_targets", "segment_targets")
        for value in [getattr(masked, name)]
    }
    return dataclasses.replace(
        batch,
        masked=dataclasses.replace(masked, **targets),
        property_ids=batch.property_ids[:0],
        property_mask=batch.property_mask[:0],
        present=torch.zeros_like(batch.present),
        go=batch.go[:, :0],
        has_text=torch.zeros(len(batch.proteins), dtype=torch.bool),
        **({} if batch.structures is None else without_structures(batch)),
    )


def without_structures(batch):
    view, nothing = batch.view, pack_chains([])
    if view is not None:
        view = dataclasses.replace(view, structures=nothing)
    rows = batch.structure_rows[:0]
    return {"structures": nothing, "structure_rows": rows, "view": view}


@pytest.mark.parametrize("form", NAMES)
def test_the_order_of_the_pairs_changes_nothing(ready, form):
    model, batch = ready(form)
    order = torch.randperm(len(batch.proteins), generator=torch.Generator().manual_seed(3)).tolist()
    assert order != sorted(order)
    one, two = losses(model, batch), losses(model, permuted(batch, order))
    for name, value in one.items():
        assert two[name].item() == pytest.approx(value.item(), rel=1e-5), name


def permuted(batch, order):
    """The same pairs in another order."""
    masked = batch.masked.part(order)
    index = torch.tensor(order)
    back = torch.argsort(index)
    # Texts of the properties that are there stand row by row.
    places = batch.present.nonzero()
    owner = [[n for n, (row, _) in enumerate(places.tolist()) if row == own] for own in order]
    texts = torch.tensor([n for own in owner for n in own], dtype=torch.long)
    row, term = batch.go
    return dataclasses.replace(
        batch,
        masked=masked,
        text_ids=batch.text_ids[index],
        text_mask=batch.text_mask[index],
        text_keys=batch.text_keys[index],
        property_ids=batch.property_ids[texts],
        property_mask=batch.property_mask[texts],
        present=batch.present[index] if len(batch.present) else batch.present,
        go=torch.stack([back[row], term]),
        clusters=batch.clusters[index],
        **permuted_modalities(batch, order),
    )


def permuted_modalities(batch, order):
    view, found = batch.view, {}
    places = []
    if batch.structure_rows is not None:
        own = batch.structure_rows.tolist()
        places = [own.index(row) for row in order if row in own]
        rows = [place for place, row in enumerate(order) if row in own]
        found["structures"] = chosen_chains(batch.structures, places)
        found["structure_rows"] = torch.tensor(rows)
    if view is not None:
        proteins = view.proteins and Masked(whole=view.proteins).part(order).whole
        texts = {n: getattr(view, n) for n in ("text_ids", "text_mask", "text_keys")}
        if len(view.text_keys):
            texts = {name: value[order] for name, value in texts.items()}
        structures = view.structures
        if structures is not None and len(structures):
            structures = chosen_chains(structures, places)
        found["view"] = View(proteins=proteins, structures=structures, **texts)
    return found


def test_a_permuted_batch_is_another_batch(ready):
    _, batch = ready("gc local")
    order = list(range(len(batch.proteins)))[::-1]
    other = permuted(batch, order)
    assert isinstance(other.proteins, PackedTokens)
    assert not torch.equal(other.text_ids, batch.text_ids)
    assert torch.equal(permuted(other, order).text_ids, batch.text_ids)


@pytest.fixture(scope="module")
def on_ranks(tmp_path_factory):
    """Losses and gradients of every form, by one process and by two that share the batch."""
    found = {}
    for ranks in (1, 2):
        folder = tmp_path_factory.mktemp(f"ranks{ranks}")
        ended = Job(folder, losses_on_ranks, folder, ranks=ranks).wait()
        assert [e.code for e in ended] == [0] * ranks, ended
        found[ranks] = torch.load(folder / "found.pt")
    return found


@pytest.mark.parametrize("form", NAMES)
def test_two_ranks_equal_one_process(on_ranks, form):
    one, two = on_ranks[1][form], on_ranks[2][form]
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    assert one["gradients"].keys() == two["gradients"].keys() != set()
    for name, gradient in one["gradients"].items():
        error = float((two["gradients"][name] - gradient).abs().max())
        assert error <= 2e-5 * float(gradient.abs().max()) + 1e-6, name

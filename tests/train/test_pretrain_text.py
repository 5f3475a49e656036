"""The text tower's own training: its space, its views, exact resume, and the bundle it leaves."""

import logging

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from protclip_core.errors import UsageError
from protclip_core.models.loading import load_text_model
from tests.train.launch import CONFIGS
from train import pretrain_text
from train.config.run import DataConfig
from train.config.text import load_text_config
from train.data.composer import TextComposer
from train.data.go_terms import GoTerms
from train.data.pairs import open_pairs
from train.data.term_space import (
    annotation_side,
    protein_targets,
    specificity,
    term_space,
    word_side,
)
from train.data.text_views import TextViews
from train.loop.run_log import read_metrics
from train.pretrain_text import train_text
from train.towers.text_tower import Masking, TextTower, encode_rows

DEBUG_DATA = CONFIGS / "debug"
CONFIG = """
name = "tiny-text"
[text]
num_layers = 1
hidden_dim = 16
num_heads = 2
max_tokens = 32
tokenizer = "TOKENIZER"
[model]
projection_dim = 8
projection_hidden = 12
[objectives]
terms = 12
wordings = 6
proteins = 6
max_tokens = 16
[train]
seed = 3
max_steps = 6
learning_rate = 1e-2
evaluate_every = 3
evaluate_pairs = 20
""".replace("TOKENIZER", str(DEBUG_DATA / "tokenizer.json"))


@pytest.fixture(scope="module")
def go_table(tmp_path_factory):
    """The terms of the debug data, most of them with a definition."""
    header, *rows = (DEBUG_DATA / "go_terms.tsv").read_text().splitlines()
    told = []
    for number, row in enumerate(rows):
        fields = row.split("\t")
        text = f"That which shows {fields[1]} when looked at." if number % 4 else ""
        told.append("\t".join([*fields[:5], text]))
    path = tmp_path_factory.mktemp("go") / "go.tsv"
    path.write_text("\n".join([header, *told]) + "\n")
    return path


@pytest.fixture(scope="module")
def terms(go_table):
    return GoTerms(go_table)


@pytest.fixture(scope="module")
def pairs(terms, tmp_path_factory):
    tokenizer = Tokenizer.from_file(str(DEBUG_DATA / "tokenizer.json"))
    config = DataConfig(token_budget=2, max_pairs=2, crops=(1,), crop_shares=(1.0,))
    path = DEBUG_DATA / "pairs.jsonl"
    return open_pairs(path, "train", config, tokenizer, terms, tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def views(terms, pairs):
    tokenizer = Tokenizer.from_file(str(DEBUG_DATA / "tokenizer.json"))
    return TextViews(terms, pairs, TextComposer(tokenizer, 32), 8, seed=3)


def write_config(folder, **changes):
    text = CONFIG
    for before, after in changes.values():
        assert before in text
        text = text.replace(before, after)
    path = folder / "text.toml"
    path.write_text(text)
    return path


def run(folder, config, go_table, **options):
    logging.getLogger("train").setLevel(logging.WARNING)
    return train_text(
        load_text_config(config),
        run_dir=folder,
        data_path=DEBUG_DATA / "pairs.jsonl",
        go_path=go_table,
        **options,
    )


def test_terms_of_the_same_proteins_lie_together(tmp_path):
    table = tmp_path / "go.tsv"
    root = "GO:0008150\tbiological_process\tbiological_process\t0\t\t\n"
    rows = [
        f"GO:000000{n}\t{name}\tbiological_process\t0\tGO:0008150\t\n"
        for n, name in enumerate(("alpha", "beta", "gamma", "delta"))
    ]
    child = "GO:0000009\tepsilon\tbiological_process\t0\tGO:0000001\t\n"
    table.write_text("id\tname\tnamespace\tis_obsolete\tis_a\tdefinition\n" + root)
    with table.open("a") as file:
        file.writelines([*rows, child])
    terms = GoTerms(table)
    # Alpha and beta always come together, gamma and delta likewise; epsilon is a kind of beta.
    annotations = [np.array([1, 2])] * 50 + [np.array([3, 4])] * 50 + [np.array([], dtype=int)]
    side = annotation_side(terms, annotations, 2)  # the third direction is a tie
    like = side @ side.T
    assert like[1, 2] > 0.7 and like[3, 4] > 0.7
    assert like[1, 3] < 0.3
    assert like[5, 2] > 0.99, "a term without proteins lies where its parent does"
    assert np.allclose(np.linalg.norm(side[1:], axis=1), 1, atol=1e-5)


def test_specificity_and_targets_against_plain_loops(views, pairs):
    annotations = [pairs.go(row) for row in range(len(pairs))]
    counts = np.zeros(len(views.terms))
    for own in annotations:
        for term in own:
            counts[term] += 1
    annotated = sum(1 for own in annotations if len(own))
    weight = [np.log(annotated / c) if c else 0.0 for c in counts]
    assert np.allclose(specificity(counts, annotated), weight)
    found = protein_targets(views.space, annotations[:20], views.specificity)
    for row, own in enumerate(annotations[:20]):
        place = sum((weight[t] * views.space[t].astype(float) for t in own), np.zeros(8))
        length = np.linalg.norm(place)
        expected = place / length if length > 1e-6 else 0 * place
        assert np.allclose(found[row], expected, atol=1e-5)


def test_space_has_both_sides_and_is_the_same_each_time(terms, pairs):
    annotations = [pairs.go(row) for row in range(len(pairs))]
    space = term_space(terms, annotations, 4)
    assert space.shape == (len(terms), 8) and space.dtype == np.float32
    assert np.array_equal(space, term_space(terms, annotations, 4))
    sides = word_side(terms, 4), annotation_side(terms, annotations, 4)
    for term, row in enumerate(space):
        both = np.concatenate([side[term] for side in sides])
        length = np.linalg.norm(both)
        assert np.allclose(row, both / length if length else both, atol=1e-5)


def test_views_follow_from_seed_and_step(views):
    one, same, next_ = (views.draw(step, 12, 6, 6, 16) for step in (4, 4, 5))
    assert one.rows == same.rows and one.rows != next_.rows
    count = len(one.terms)
    assert len(one.rows) == count + len(one.again) + 2 * len(one.proteins)
    assert max(map(len, one.rows)) <= 16
    for place, term in enumerate(one.terms):
        assert one.rows[place] == views.name(term)[:16] or len(views.name(term)) > 16
    assert all(views.definitions[term] for term in one.terms[one.again])


def test_rows_do_not_depend_on_their_company():
    torch.manual_seed(0)
    form = load_form()
    tower = TextTower(
        vocab_size=50,
        hidden_dim=16,
        num_layers=1,
        num_heads=2,
        max_tokens=16,
        projection_dim=8,
        form=form,
    ).eval()
    rows = [[2, *range(5, 5 + n), 3] for n in (9, 1, 4, 12, 2, 7)]
    together = encode_rows(tower, rows, 0)[0]
    for row, vector in zip(rows, together):
        alone = tower(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.long))[1]
        assert torch.allclose(alone[0], vector, atol=1e-6)


def load_form():
    from protclip_core.encoders.projection_form import ProjectionForm

    return ProjectionForm(form="skip", hidden_dim=12)


def test_masking_spares_special_tokens_and_padding():
    ids = torch.tensor([[2, 7, 8, 9, 3, 0, 0]] * 400)
    masking = Masking(4, 0.5, 0.5, 5, torch.Generator().manual_seed(1))
    hidden = masking.draw(ids, (ids != 0).long())
    assert not hidden[:, [0, 4, 5, 6]].any()
    assert 0.2 < hidden[:, 1:4].float().mean() < 0.3
    assert 0.4 < hidden.any(dim=1).float().mean() < 0.5


def test_resumed_run_is_the_run_and_its_bundle_loads(tmp_path, go_table):
    config = write_config(tmp_path)
    straight = run(tmp_path / "straight", config, go_table)
    run(tmp_path / "halves", config, go_table, stop_at=3)
    resumed = run(tmp_path / "halves", config, go_table, resume=True)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    lines = read_metrics(tmp_path / "halves")
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert {"cosine_name", "definition_r1", "cosine_proteins"} <= lines[-1].keys()
    model = load_text_model(tmp_path / "straight" / "bundle")
    row = TextComposer(Tokenizer.from_file(str(tmp_path / "straight" / "tokenizer.json")), 32)
    tokens = torch.tensor([row.text("protein kinase activity")])
    straight.eval()
    with torch.no_grad():
        expected = straight(tokens, torch.ones_like(tokens))[1]
    found = model.embed(["protein kinase activity"], space="joint")
    assert np.allclose(found, expected.numpy(), atol=5e-3)


def test_learning_brings_names_to_their_places(tmp_path, go_table):
    config = write_config(tmp_path, steps=("max_steps = 6", "max_steps = 60"))
    run(tmp_path / "run", config, go_table)
    lines = read_metrics(tmp_path / "run")
    evaluations = [line for line in lines if "evaluation" in line]
    assert evaluations[-1]["cosine_name"] > evaluations[0]["cosine_name"] + 0.3


@pytest.mark.parametrize(
    ("before", "after", "code", "shown"),
    [
        ("projection_dim = 8", "projection_dim = 7", "bad_value", ("projection_dim", "7")),
        ("projection_dim = 8", "", "bad_value", ("projection_dim is missing",)),
        ("terms = 12", "term = 12", "unknown_key", ("[objectives]", "'term'", "'terms'")),
        ("[model]", "[modell]", "unknown_key", ("'modell'", "'model'")),
        ("[text]", "[text]\nweights = 'x'", "bad_value", ("weights",)),
    ],
)
def test_wrong_keys_are_named(tmp_path, before, after, code, shown):
    config = write_config(tmp_path, it=(before, after))
    with pytest.raises(UsageError) as caught:
        load_text_config(config)
    assert caught.value.code == f"usage.{code}"
    assert all(part in str(caught.value) for part in shown)


def test_recipe_that_ships_is_valid():
    for path in sorted((CONFIGS / "text").glob("*.toml")):
        assert load_text_config(path).text.num_layers


def test_folder_that_holds_a_run_is_not_begun_anew(tmp_path, go_table, capsys):
    config = write_config(tmp_path, steps=("max_steps = 6", "max_steps = 1"))
    arguments = ["--config", config, "--run-dir", tmp_path / "run"]
    arguments += ["--data", DEBUG_DATA / "pairs.jsonl", "--go", go_table]
    assert pretrain_text.main([str(a) for a in arguments]) == 0
    assert pretrain_text.main([str(a) for a in arguments]) == 2
    assert "[usage.output_exists]" in capsys.readouterr().err

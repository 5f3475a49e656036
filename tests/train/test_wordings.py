"""Wordings in training: which texts are shown, of which terms, and what a run says of them."""

import hashlib
import json
import logging

import numpy as np
import pytest
from tokenizers import Tokenizer

from protclip_core.errors import InputError, ModelError, UsageError
from protclip_core.models.loading import load_text_model
from tests.train.launch import CONFIGS, write_config
from train.config.augment import AugmentConfig
from train.config.run import DataConfig, load_config
from train.config.text import load_text_config
from train.data.composer import TextComposer
from train.data.go_bank import make_bank
from train.data.go_terms import GoTerms
from train.data.pairs import open_pairs
from train.data.protein_texts import SentenceTexts
from train.data.text_views import TextViews
from train.data.texts import GO_TAG
from train.pretrain import train
from train.pretrain_text import train_text
from train.protanno.augment.evidence import Evidence
from train.protanno.augment.release import RELATIONS
from train.protanno.augment.wordings import open_wordings
from train.release.export import export

DEBUG_DATA = CONFIGS / "debug"
PAIRS, GO = DEBUG_DATA / "pairs.jsonl", DEBUG_DATA / "go_terms.tsv"
PROTEASE, PROTEOLYSIS, CATALYTIC = "GO:0008233", "GO:0006508", "GO:0003824"
TEXT = """
name = "worded"
[text]
num_layers = 1
hidden_dim = 16
num_heads = 2
max_tokens = 32
tokenizer = "TOKENIZER"
[text.augment]
views = "VIEWS"
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
max_steps = 3
learning_rate = 1e-2
evaluate_every = 3
evaluate_pairs = 20
""".replace("TOKENIZER", str(DEBUG_DATA / "tokenizer.json"))


@pytest.fixture(scope="module")
def terms():
    return GoTerms(GO)


@pytest.fixture(scope="module")
def release(tmp_path_factory, terms):
    """A release of all terms of the debug data but one, which is obsolete in it."""
    columns = ["id", "name", "aspect", "definition", "exact_synonyms", *RELATIONS]
    lines = ["# made up, 2024-02-01", "\t".join([*columns, "obsolete", "alt_ids"])]
    for number, (id, name) in enumerate(zip(terms.ids, terms.names)):
        aspect = ("MF", "BP", "CC")[terms.aspects[number]]
        above = "|".join(sorted(terms.ids[t] for t in terms.ancestors(number) - {number}))
        row = [id, name, aspect, f"A thing that is {name} and no other.", f"zz{number} activity"]
        gone = "1" if id == PROTEOLYSIS else "0"
        lines.append("\t".join([*row, above, *[""] * (len(RELATIONS) - 1), gone, ""]))
    path = tmp_path_factory.mktemp("release") / "go.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def own_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "own.tsv"
    path.write_text(f"{PROTEASE}\tScissors one.\n{PROTEASE}\tScissors two.\n")
    return path


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file(str(DEBUG_DATA / "tokenizer.json"))


@pytest.fixture(scope="module")
def pairs(terms, tokenizer, tmp_path_factory):
    config = DataConfig(token_budget=2, max_pairs=2, crops=(1,), crop_shares=(1.0,))
    return open_pairs(PAIRS, "train", config, tokenizer, terms, tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def composed(terms, release):
    return open_wordings(AugmentConfig(views="composer", release=str(release)), terms, 3)


def decoded(tokenizer, row):
    return tokenizer.decode(row)


@pytest.mark.parametrize(
    ("views", "said"),
    [("name", {"peptidase activity"}), ("definition", {"peptidase activity"})],
)
def test_names_and_definitions_are_those_of_the_table(terms, views, said):
    wordings = open_wordings(AugmentConfig(views=views), terms, 3)
    term = terms.index[PROTEASE]
    assert {wordings.text(term, epoch) for epoch in range(9)} == {terms.names[term]}
    assert wordings.defines(term) is (views == "definition" and bool(terms.definitions[term]))
    assert not wordings.composed and wordings.record == {"views": views}


def test_composed_wordings_are_the_releases_and_names_where_it_has_none(terms, composed):
    told = {composed.text(terms.index[PROTEASE], epoch) for epoch in range(60)}
    assert len(told) > 10
    gone = {composed.text(terms.index[PROTEOLYSIS], epoch) for epoch in range(20)}
    assert gone == {terms.names[terms.index[PROTEOLYSIS]]}
    assert composed.record["terms_in_release"] == len(terms) - 1
    for term in range(len(terms)):
        if terms.ids[term] != PROTEOLYSIS:
            first, second = composed.views(term, 4)
            assert first != second and (first, second) == composed.views(term, 4)


def test_texts_of_a_file_are_taken_by_their_share(terms, release, own_file):
    def told(share):
        config = AugmentConfig(
            views="rewritten", release=str(release), rewrites=str(own_file), rewritten_share=share
        )
        wordings = open_wordings(config, terms, 3)
        return wordings, [wordings.text(terms.index[PROTEASE], epoch) for epoch in range(200)]

    wordings, always = told(1.0)
    assert set(always) == {"Scissors one.", "Scissors two."}
    assert set(wordings.views(terms.index[PROTEASE], 0)) == set(always)
    assert not set(told(0.0)[1]) & set(always)
    assert 60 < sum(text in set(always) for text in told(0.5)[1]) < 140
    own = wordings.record["rewrites"]
    assert own["sha256"] == hashlib.sha256(own_file.read_bytes()).hexdigest()
    assert (own["terms_covered"], own["texts"]) == (1, 2)
    # Another term is told by the release.
    assert "Scissors" not in wordings.text(terms.index[CATALYTIC], 0)


def test_a_file_is_measured_by_the_tokens_of_the_run(terms, release, own_file):
    config = AugmentConfig(
        views="rewritten", release=str(release), rewrites=str(own_file), rewrites_max_tokens=5
    )
    open_wordings(config, terms, 3)
    with pytest.raises(InputError) as caught:
        open_wordings(config, terms, 3, count=len)
    assert caught.value.code == "input.long_text"


def test_name_alone_shows_no_term_twice(terms, pairs, tokenizer):
    texts = TextComposer(tokenizer, 32)
    wordings = open_wordings(AugmentConfig(views="name"), terms, 3)
    views = TextViews(terms, pairs, texts, 8, 3, wordings)
    shown = views.draw(0, 12, 6, 6, 16)
    assert len(shown.again) == 0
    assert len(shown.rows) == len(shown.terms) + 2 * len(shown.proteins)


def test_composed_views_follow_from_seed_and_step(terms, pairs, tokenizer, composed):
    texts = TextComposer(tokenizer, 32)
    views = TextViews(terms, pairs, texts, 8, 3, composed)
    one, same, other = (views.draw(step, 12, 6, 6, 32) for step in (4, 4, 5))
    assert one.rows == same.rows and one.rows != other.rows
    count = len(one.terms)
    assert len(one.again) == 6, "a term needs no definition for a second wording"
    names = [one.rows[place] == views.name(term) for place, term in enumerate(one.terms)]
    assert 0 < sum(names) < count
    for place, term in enumerate(one.terms.tolist()):
        expected = texts.text(composed.text(term, 4, 0))
        assert names[place] or one.rows[place] == [*expected[:31], expected[-1]][: len(expected)]
    second = one.rows[count : count + 6]
    for row, term in zip(second, one.terms[one.again].tolist()):
        expected = texts.text(composed.text(term, 4, 1))
        assert row == expected


def test_texts_of_proteins_are_sentences_of_drawn_terms(terms, tokenizer, composed):
    content = np.full(len(terms), 1.0)
    texts = SentenceTexts(tokenizer, 400, composed, content, max_go_names=2)
    named = [terms.index[PROTEASE], terms.index[CATALYTIC]]
    parts = [("FUNCTION", [[7, 8], [9]]), (GO_TAG, [texts.tokens(terms.names[n]) for n in named])]
    rows = [texts.sample(parts, np.random.default_rng(n)) for n in range(200)]
    assert rows == [texts.sample(parts, np.random.default_rng(n)) for n in range(200)]
    told = [decoded(tokenizer, row) for row in rows]
    starts = {text.split(":")[0].strip() for text in told}
    assert starts == {"function", "gene ontology"}, "properties come in any order"
    assert len({text for text in told if "gene ontology" in text}) > 60
    for row in rows:
        assert row[0] == texts.framed([])[0] and row[-1] == texts.framed([])[-1]
    first, second = texts.views(parts, np.random.default_rng(5))
    assert first != second


def test_rare_terms_are_spoken_of_more_often(terms, tokenizer, release):
    names = open_wordings(AugmentConfig(views="name"), terms, 3)
    content = np.zeros(len(terms))
    content[terms.index[PROTEASE]] = 3.0
    texts = SentenceTexts(tokenizer, 400, names, content, max_go_names=1)
    named = [terms.index[PROTEASE], terms.index[CATALYTIC]]
    parts = [(GO_TAG, [texts.tokens(terms.names[number]) for number in named])]
    told = [decoded(tokenizer, texts.sample(parts, np.random.default_rng(n))) for n in range(300)]
    rare = sum(terms.names[named[0]] in text for text in told)
    assert 280 <= rare < 300, "0.05 of 3.05 is left for what all proteins have"


EVIDENCE = "# made up\naccession\tgo_id\taspect\tevidence\tqualifier\tsource\n"


def test_evidence_weighs_terms_and_not_is_never_said(tmp_path, terms, tokenizer):
    path = tmp_path / "evidence.tsv"
    rows = [
        ("P1", PROTEASE, "IDA", ""),
        ("P1", PROTEOLYSIS, "IEA", ""),
        ("P2", CATALYTIC, "IDA", "NOT"),
        ("P2", PROTEOLYSIS, "ND", ""),
        ("P3", "GO:7777777", "IDA", ""),
    ]
    path.write_text(EVIDENCE + "".join(f"{a}\t{t}\tX\t{e}\t{q}\ts\n" for a, t, e, q in rows))
    evidence = Evidence(path, terms)
    protease, proteolysis, catalytic = (
        terms.index[id] for id in (PROTEASE, PROTEOLYSIS, CATALYTIC)
    )
    asked = [protease, proteolysis, catalytic]
    assert protease != catalytic and catalytic in terms.ancestors(protease)
    # What follows from an experiment is as well known; a term without annotation is a guess.
    assert evidence.weights("P1", asked).tolist() == [1.0, 0.2, 1.0]
    # Who is no enzyme is no protease either.
    assert evidence.weights("P2", asked).tolist() == [0.0, 0.2, 0.0]
    assert evidence.weights("P3", asked).tolist() == [1.0, 1.0, 1.0]
    names = open_wordings(AugmentConfig(views="name"), terms, 3)
    content = np.full(len(terms), 1.0)
    texts = SentenceTexts(tokenizer, 400, names, content, evidence, max_go_names=4)
    parts = [(GO_TAG, [texts.tokens(terms.names[number]) for number in asked])]
    for n in range(50):
        told = decoded(tokenizer, texts.sample(parts, np.random.default_rng(n), "P2"))
        assert terms.names[proteolysis] in told
        assert terms.names[protease] not in told and terms.names[catalytic] not in told


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("accession\tgo_id\tevidence\n", "input.missing_column"),
        (EVIDENCE + f"P1\t{PROTEASE}\tX\tXYZ\t\ts\n", "input.bad_line"),
        (EVIDENCE + f"P1\t{PROTEASE}\tX\tIDA\n", "input.bad_line"),
    ],
)
def test_a_bad_table_of_evidence_is_refused(tmp_path, terms, content, code):
    path = tmp_path / "evidence.tsv"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        Evidence(path, terms)
    assert caught.value.code == code
    with pytest.raises(ModelError):
        Evidence(tmp_path / "none", terms)


def test_a_bank_of_wordings_has_three_texts_of_each_term(terms, composed, tokenizer):
    texts = TextComposer(tokenizer, 200)
    counts = np.full(len(terms), 5)
    bank = make_bank(terms, counts, texts, least=1, kind="wordings", wordings=composed)
    assert bank.owner is not None
    assert np.array_equal(np.sort(bank.owner), np.repeat(np.arange(len(terms)), 3))
    rows = {}
    for numbers, ids, mask in bank.batches:
        for number, row, real in zip(numbers.tolist(), ids, mask.bool()):
            rows[number] = row[real].tolist()
    for number, owner in enumerate(bank.owner.tolist()):
        said = [terms.names[owner], *composed.views(owner, 0)][number // len(terms)]
        assert rows[number] == texts.text(said)


@pytest.mark.parametrize(
    "keys",
    [
        {"views": "composer"},
        {"views": "rewritten", "release": "x"},
        {"views": "composer", "release": "x", "rewrites": "y"},
        {"views": "name", "release": "x"},
        {"views": "definition", "evidence": "x"},
    ],
)
def test_keys_that_do_not_belong_together_are_refused(keys):
    with pytest.raises(ValueError, match="need|belong"):
        AugmentConfig(**keys)


def text_config(folder, views, *lines):
    path = folder / "text.toml"
    text = TEXT.replace("VIEWS", views)
    path.write_text(text.replace("[model]", "\n".join([*lines, "[model]"])))
    return path


def test_files_are_relative_to_the_configuration_and_wrong_keys_are_named(tmp_path, release):
    (tmp_path / "go.tsv").symlink_to(release)
    found = load_text_config(text_config(tmp_path, "composer", 'release = "go.tsv"'))
    assert found.text.augment.release == str(release)
    changes = {"text": {"augment": '{ views = "composer", release = "go.tsv" }'}}
    found = load_config(write_config(tmp_path / "c.toml", changes))
    assert found.text.augment.release == str(release)
    for lines, code, shown in (
        (['relese = "x"'], "usage.unknown_key", "'release'"),
        ([], "usage.bad_value", "release"),
    ):
        with pytest.raises(UsageError) as caught:
            load_text_config(text_config(tmp_path, "composer", *lines))
        assert caught.value.code == code and shown in str(caught.value)
    with pytest.raises(UsageError) as caught:
        load_text_config(text_config(tmp_path, "llm"))
    assert "'composer'" in str(caught.value) and "augment" in str(caught.value)


@pytest.mark.parametrize("views", ["name", "composer", "rewritten"])
def test_a_text_tower_is_trained_on_each_and_says_so(tmp_path, release, own_file, views):
    logging.getLogger("train").setLevel(logging.WARNING)
    lines = [] if views == "name" else [f'release = "{release}"']
    lines += [f'rewrites = "{own_file}"'] if views == "rewritten" else []
    paths = {"data_path": PAIRS, "go_path": GO}
    config = load_text_config(text_config(tmp_path, views, *lines))
    straight = train_text(config, run_dir=tmp_path / "run", **paths)
    train_text(config, run_dir=tmp_path / "halves", stop_at=1, **paths)
    resumed = train_text(config, run_dir=tmp_path / "halves", resume=True, **paths)
    for name, value in straight.state_dict().items():
        assert value.equal(resumed.state_dict()[name]), name
    card = tmp_path / "run" / "bundle" / "MODEL_CARD.md"
    assert load_text_model(tmp_path / "run" / "bundle").embed(["it"], space="joint").shape == (1, 8)
    record = tmp_path / "run" / "texts.json"
    assert card.exists() == record.exists() == (views != "name")
    if views != "name":
        found = json.loads(record.read_text())
        assert found["views"] == views and found["release"] == "2024-02-01"
        assert found["release_sha256"][0] in card.read_text()
    if views == "rewritten":
        assert hashlib.sha256(own_file.read_bytes()).hexdigest() in card.read_text()


def test_a_pre_training_speaks_of_terms_in_sentences(tmp_path, release):
    logging.getLogger("train").setLevel(logging.WARNING)
    table = f'{{ views = "composer", release = "{release}" }}'
    changes = {
        "text": {"augment": table},
        "objectives": {"go_text": '"wordings"'},
        "train": {"max_steps": 2, "evaluate_every": 2},
    }
    config = load_config(write_config(tmp_path / "c.toml", changes))
    assert config.text.augment == AugmentConfig(views="composer", release=str(release))
    train(config, run_dir=tmp_path / "run")
    found = json.loads((tmp_path / "run" / "texts.json").read_text())
    assert found["views"] == "composer"
    (tmp_path / "card.md").write_text("# A model\n")
    bundle = export(tmp_path / "run", tmp_path / "bundle", tmp_path / "card.md")
    card = (bundle.path / "MODEL_CARD.md").read_text()
    assert card.startswith("# A model\n") and found["release_sha256"][0] in card


def test_sentences_without_a_table_of_terms_are_refused(tmp_path, release):
    changes = {
        "text": {"augment": f'{{ views = "composer", release = "{release}" }}'},
        "objectives": {"go": 0.0},
    }
    path = write_config(tmp_path / "c.toml", changes)
    path.write_text(
        "\n".join(x for x in path.read_text().splitlines() if not x.startswith('go = "'))
    )
    with pytest.raises(UsageError) as caught:
        train(load_config(path), run_dir=tmp_path / "run")
    assert caught.value.code == "usage.missing_option"

"""From proteins to listed terms: what is chosen, in which order, from FASTA files and stores."""

from __future__ import annotations

import logging
from dataclasses import replace

import h5py
import numpy as np
import pytest

from protclip_core.errors import ModelError
from protclip_core.measure.calibration import sigmoid
from protclip_core.measure.false_discovery import CAUTION, FalseDiscovery
from protclip_core.models.loading import load_model
from protclip_core.ontology import ASPECTS, map_to_slim
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.writer import StoreWriter
from protclip_core.tasks.annotate.request import AnnotateRequest
from protclip_core.tasks.annotate.selection import Selection
from protclip_core.tasks.annotate.task import Annotation
from protclip_core.tasks.embed.task import embed_to_store
from protclip_core.terms.index_file import add_to_bundle, write_go_index
from protclip_core.terms.scores import GoScorer
from protclip_core.vectors import store_source as source
from protclip_core.vectors.embed_request import EmbedRequest
from protclip_core.weights.bundle import open_bundle
from tests.support.go_indexes import ancestors_of, index_of, naive_log_odds, random_index, unit
from tests.support.helpers import random_proteins, write_fasta
from tests.support.ontology_files import go_id
from tests.support.refusals import refused
from tests.unit.models.dual import Dual


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A model with a calibrated index of the small ontology."""
    folder = Dual().write(tmp_path_factory.mktemp("annotate") / "dual")
    add_to_bundle(index_of(folder), open_bundle(folder))
    return folder


@pytest.fixture(scope="module")
def proteins(tmp_path_factory):
    return write_fasta(
        tmp_path_factory.mktemp("proteins") / "x.fa", random_proteins(30, seed=4, shortest=30)
    )


@pytest.fixture(scope="module")
def stores(bundle, proteins):
    """The same proteins as stores of both spaces."""
    found = {}
    for space in ("encoder", "joint"):
        found[space] = proteins.with_name(f"{space}.h5")
        embed_to_store(
            EmbedRequest(
                inputs=(str(proteins),),
                output=found[space],
                model=str(bundle),
                space=space,
                device="cpu",
            )
        )
    return found


def run(*inputs, model=None, **options):
    request = AnnotateRequest(
        inputs=tuple(map(str, inputs)),
        go=True,
        model=str(model) if model else None,
        device="cpu",
        **options,
    )
    with Annotation(request) as annotation:
        return list(annotation.proteins()), annotation


def by_protein(found):
    return {
        p.protein_id: [(t.term, t.cosine, t.probability, t.rank) for t in p.terms] for p in found
    }


# -- selection -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scored():
    """A random index, proteins, all log odds by the naive twin, and what the scorer found."""
    index = random_index(90, seed=8)
    vectors = unit(np.random.default_rng(2), 25, index.joint_dim)
    return index, naive_log_odds(index, vectors), GoScorer(index).above(vectors, -2.0)


def selected(index, scored, **options):
    options.setdefault("aspects", (0, 1, 2))
    options.setdefault("least", np.full(3, -2.0))
    ids = [f"p{row}" for row in range(25)]
    found = list(Selection(ontology=index.ontology, **options).of(ids, scored))
    assert [protein.protein_id for protein in found] == ids
    return [protein.terms for protein in found]


def test_terms_are_listed_by_aspect_and_rank(scored):
    index, table, pairs = scored
    limits = np.array([-1.0, -0.5, 0.0])
    lists = selected(index, pairs, least=limits)
    roots = set(index.ontology.roots.tolist())
    for row, terms in enumerate(lists):
        aspects = index.ontology.aspects
        wanted = {t for t in range(90) if table[row, t] >= limits[aspects[t]]} - roots
        assert {one.term for one in terms} == wanted
        places = [(aspects[one.term], one.rank) for one in terms]
        assert places == sorted(places)
        for aspect in range(3):
            own = [one for one in terms if aspects[one.term] == aspect]
            assert [one.rank for one in own] == list(range(1, len(own) + 1))
            odds = [table[row, one.term] for one in own]
            assert all(a >= b - 1e-4 for a, b in zip(odds, odds[1:]))
            for one in own:
                assert one.probability == pytest.approx(sigmoid(table[row, one.term]), rel=1e-3)
    assert sum(map(len, lists)) > 100


def test_equal_terms_are_in_the_order_of_cosine_then_id(scored):
    index, _, pairs = scored
    for equal_cosines in (False, True):
        same = replace(
            pairs,
            log_odds=np.zeros(len(pairs.rows)),
            cosines=pairs.cosines * (not equal_cosines),
        )
        for terms in selected(index, same, aspects=(1,)):
            keys = [(-one.cosine, index.ontology.ids[one.term]) for one in terms]
            assert [k[0] for k in keys] == sorted(k[0] for k in keys)
            if equal_cosines:
                assert keys == sorted(keys)


def test_at_most_k_of_each_aspect_and_only_the_aspects_asked_for(scored):
    index, _, pairs = scored
    everything, few = selected(index, pairs), selected(index, pairs, top_k=2, aspects=(0, 2))
    for all_terms, terms in zip(everything, few):
        kept = [t for t in all_terms if t.rank <= 2 and index.ontology.aspects[t.term] != 1]
        assert terms == kept


def test_specific_terms_have_no_listed_descendant_of_their_aspect(scored):
    index, _, pairs = scored
    ancestors, aspects = ancestors_of(index.ontology), index.ontology.aspects
    for every, terms in zip(selected(index, pairs), selected(index, pairs, specific=True)):
        listed = {one.term for one in every}
        above = {(a, aspects[term]) for term in listed for a in ancestors[term]}
        wanted = {term for term in listed if (term, aspects[term]) not in above}
        assert {one.term for one in terms} == wanted


def test_with_propagate_all_ancestors_are_listed(scored):
    index, _, pairs = scored
    ancestors, roots = ancestors_of(index.ontology), set(index.ontology.roots.tolist())
    few = selected(index, pairs, top_k=1)
    for own, terms in zip(few, selected(index, pairs, top_k=1, propagate=True)):
        listed = {one.term for one in own}
        wanted = listed | {a for term in listed for a in ancestors[term]}
        assert {one.term for one in terms} == wanted - roots
    assert any(
        len(a) < len(b) for a, b in zip(few, selected(index, pairs, top_k=1, propagate=True))
    )


def test_a_slim_takes_the_place_of_what_is_below_it(scored):
    index, table, pairs = scored
    slim = map_to_slim(index.ontology, np.arange(0, 90, 6))
    roots = set(index.ontology.roots.tolist())
    for row, (every, terms) in enumerate(
        zip(selected(index, pairs), selected(index, pairs, slim=slim))
    ):
        wanted = {int(s) for one in every for s in slim.of(one.term)} - roots
        assert {one.term for one in terms} == wanted
        for one in terms:
            assert one.probability == pytest.approx(sigmoid(table[row, one.term]), rel=1e-3)


# -- the expected share of wrong ones ------------------------------------------------------------


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_the_threshold_of_an_expected_share_is_the_lowest_that_keeps_it(share):
    chances = np.random.default_rng(0).beta(0.4, 1.2, 3000)
    counted = FalseDiscovery()
    for part in np.array_split(chances, 7):
        counted.add(part)
    least = counted.threshold(share)
    share /= CAUTION
    assert np.mean(1 - chances[chances >= least]) <= share
    below = chances[chances < least].max()
    assert np.mean(1 - chances[chances >= below]) > share - 1e-3


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_pair_that_another_hides_counts_until_it_is_hidden(share):
    rng = np.random.default_rng(1)
    chances = rng.beta(0.8, 0.8, 2000)
    hidden = np.where(rng.random(2000) < 0.5, chances * rng.random(2000), 0.0)
    counted = FalseDiscovery()
    for part in np.array_split(np.arange(2000), 3):
        counted.add(chances[part], hidden[part])

    def expected(least):
        listed = chances[(chances >= least) & (hidden < least)]
        return np.mean(1 - listed) if len(listed) else 1.0

    least = counted.threshold(share)
    fitting = [one for one in chances if CAUTION * expected(one) <= share]
    assert least == pytest.approx(min(fitting), abs=2e-5)
    plain = FalseDiscovery()
    plain.add(chances)
    assert plain.threshold(share) < least


def test_where_nothing_is_sure_enough_there_is_no_threshold():
    counted = FalseDiscovery()
    assert counted.threshold(0.5) is None
    counted.add(np.array([0.3, 0.4]))
    assert counted.threshold(0.5) is None
    counted.add(np.array([1.0]))
    assert counted.threshold(0.55) == pytest.approx(0.3, abs=1e-4)


# -- whole runs ----------------------------------------------------------------------------------


def test_a_run_lists_what_the_naive_twin_finds(bundle, proteins):
    found, annotation = run(proteins, model=bundle, min_probability=0.2)
    model = load_model(str(bundle), device="cpu")
    names = [f"p{i}" for i in range(30)]
    vectors = model.embed_proteins([s for _, s in random_proteins(30, seed=4, shortest=30)])
    chances = sigmoid(naive_log_odds(annotation.index, vectors))
    roots = set(annotation.index.ontology.roots.tolist())
    assert [p.protein_id for p in found] == names
    listed = 0
    for row, protein in enumerate(found):
        near = {t for t in range(26) if abs(chances[row, t] - 0.2) < 1e-4}
        wanted = {t for t in range(26) if chances[row, t] >= 0.2} - roots
        assert {one.term for one in protein.terms} - near == wanted - near
        listed += len(wanted)
    assert 100 < listed < 30 * 20
    assert annotation.report.proteins == 30
    assert annotation.report.terms == sum(len(p.terms) for p in found)
    assert annotation.rule == "probability at least 0.2"


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"min_probability": 0.5, "top_k": 2}])
def test_stores_of_both_spaces_give_what_the_file_gives(bundle, proteins, stores, options):
    wanted = by_protein(run(proteins, model=bundle, **options)[0])
    for path in stores.values():
        found = by_protein(run(path, model=bundle, **options)[0])
        assert list(found) == list(wanted)
        for id, terms in found.items():
            assert [t[0] for t in terms] == [t[0] for t in wanted[id]]
            np.testing.assert_allclose(
                np.array(terms, dtype=float),
                np.array(wanted[id], dtype=float),
                rtol=2e-3,
                atol=1e-5,
            )
    assert sum(map(len, wanted.values())) > 30


def test_results_do_not_depend_on_blocks_order_or_company(bundle, stores, tmp_path, monkeypatch):
    wanted = by_protein(run(stores["joint"], model=bundle, top_k=4)[0])
    monkeypatch.setattr(source, "_STORE_ROWS", 7)
    monkeypatch.setattr("protclip_core.tasks.annotate.task.BLOCK_PROTEINS", 3)
    assert by_protein(run(stores["joint"], model=bundle, top_k=4)[0]) == wanted
    with EmbeddingStore.open(stores["joint"]) as store:
        ids, vectors, made = store.ids[::-2], store.read(slice(None))[::-2], dict(store.attributes)
    path = tmp_path / "some.h5"
    with StoreWriter(path, 16, "float32", made) as writer:
        writer.write(
            ids,
            vectors,
            np.full(15, 100, np.int64),
            np.zeros(15, np.uint16),
            np.zeros((15, 32), np.uint8),
        )
    found = by_protein(run(path, model=bundle, top_k=4)[0])
    assert found == {id: wanted[id] for id in ids}


def test_a_share_of_wrong_ones_holds_for_the_most_specific_terms_alone(bundle, stores):
    found, annotation = run(stores["joint"], model=bundle, fdr=0.95, specific=True)
    aspects, ancestors = annotation.index.ontology.aspects, ancestors_of(annotation.index.ontology)
    everything, _ = run(stores["joint"], model=bundle, min_probability=0.01)
    for aspect in range(3):
        listed = [one for p in found for one in p.terms if aspects[one.term] == aspect]
        wrong = sum(1 - one.probability for one in listed)
        assert CAUTION * wrong <= (0.95 + 1e-4) * len(listed)
        assert len(listed) > 5
        # One more step down, and it would not hold, or there is none.
        least = min(one.probability for one in listed)
        every = [one for p in everything for one in p.terms if aspects[one.term] == aspect]
        for step in {one.probability for one in every if one.probability < least}:
            wrong, count = 0.0, 0
            for protein in everything:
                own = {o.term: o.probability for o in protein.terms
                       if aspects[o.term] == aspect and o.probability >= step}  # fmt: skip
                above = {a for term in own for a in ancestors[term]}
                wrong += sum(1 - value for term, value in own.items() if term not in above)
                count += sum(term not in above for term in own)
            assert CAUTION * wrong > 0.95 * count - 1e-2


def test_a_share_of_wrong_ones_holds_for_each_aspect(bundle, stores):
    found, annotation = run(stores["joint"], model=bundle, fdr=0.6)
    assert annotation.rule == "expected share of wrong terms at most 0.6"
    aspects = annotation.index.ontology.aspects
    everything, _ = run(stores["joint"], model=bundle, min_probability=0.01)
    total = 0
    for aspect in range(3):
        listed, known = (
            sorted(one.probability for p in lists for one in p.terms if aspects[one.term] == aspect)
            for lists in (found, everything)
        )
        total += len(listed)
        assert CAUTION * sum(1 - one for one in listed) <= (0.6 + 1e-4) * len(listed)
        assert listed == known[len(known) - len(listed) :]
    assert 20 < total < sum(len(p.terms) for p in everything)


def test_without_a_calibration_cosines_are_listed(bundle, stores, tmp_path, caplog):
    path = tmp_path / "bare.npz"
    write_go_index(index_of(bundle, calibrated=False), path)
    found, annotation = run(stores["joint"], model=bundle, go_index=path, top_k=2)
    assert "for model dual, so no probabilities: the best 2 terms" in caplog.text
    for protein in found:
        assert [one.rank for one in protein.terms] == [1, 2] * 3
        assert all(one.probability is None for one in protein.terms)
        for a, b in zip(protein.terms[::2], protein.terms[1::2]):
            assert a.cosine >= b.cosine
    default = run(stores["joint"], model=bundle, go_index=path)[0]
    sizes = np.bincount(annotation.index.ontology.aspects) - 1
    assert all(len(p.terms) == np.minimum(sizes, 10).sum() for p in default)
    # Ancestors come with what is listed, though no cosine of theirs is among the best.
    whole = run(stores["joint"], model=bundle, go_index=path, top_k=2, propagate=True)[0]
    ancestors, roots = ancestors_of(annotation.index.ontology), {"GO:0003674", "GO:0008150"}
    numbers = set(annotation.index.ontology.roots.tolist())
    assert len(numbers) == 3
    assert roots < {annotation.index.ontology.ids[n] for n in numbers}
    for protein, every in zip(found, whole):
        own = {one.term for one in protein.terms}
        wanted = own | {a for term in own for a in ancestors[term]}
        assert {one.term for one in every.terms} == wanted - numbers
    for options in ({"min_probability": 0.5}, {"fdr": 0.1}):
        with refused("usage.no_calibration", "GO"):
            run(stores["joint"], model=bundle, go_index=path, **options)


def test_a_slim_from_a_file(bundle, stores, tmp_path):
    slim = tmp_path / "slim.txt"
    slim.write_text(f"{go_id(1)}\n{go_id(10)}\n")
    found, annotation = run(stores["joint"], model=bundle, slim=str(slim), min_probability=0.01)
    listed = {annotation.index.ontology.ids[one.term] for p in found for one in p.terms}
    assert listed
    assert listed <= {go_id(1), go_id(10)}


def test_a_vector_of_no_direction_is_named_and_left_out(bundle, stores, tmp_path):
    with EmbeddingStore.open(stores["joint"]) as store:
        ids, vectors, made = store.ids[:4], store.read(slice(0, 4)), dict(store.attributes)
    vectors[[1, 3]] = 0.0
    path = tmp_path / "bad.h5"

    def write(rows):
        with StoreWriter(path, 16, "float32", made) as writer:
            writer.write(
                [ids[r] for r in rows],
                vectors[rows],
                np.ones(len(rows), np.int64),
                np.zeros(len(rows), np.uint16),
                np.zeros((len(rows), 32), np.uint8),
            )

    write([0, 1, 2, 3])
    found, annotation = run(path, model=bundle)
    assert [p.protein_id for p in found] == [ids[0], ids[2]]
    assert annotation.report.num_failures == 2
    assert [f.id for f in annotation.report.first_failures] == [ids[1], ids[3]]
    assert {f.code for f in annotation.report.first_failures} == {"record.no_direction"}
    write([1, 3])
    with refused("input.no_usable_vector", path, "2"):
        run(path, model=bundle)


def test_a_store_names_its_model_and_another_is_refused(bundle, stores, tmp_path, tiny_bundle):
    other = Dual().write(
        tmp_path / "other",
        change=lambda tensors: tensors["logit_scale"].add_(1.0),
        config={"name": "other"},
    )
    with refused("model.other_model", "weights", "other"):
        run(stores["encoder"], model=other)
    with refused("model.other_model", "weights"):
        run(stores["joint"], model=other)
    foreign = tmp_path / "foreign.h5"
    with h5py.File(foreign, "w") as file:
        file["p1"] = np.ones(16, np.float32)
    with refused("model.unknown_vectors", foreign):
        run(foreign, model=bundle)
    with refused("usage.store_and_others", stores["joint"]):
        run(stores["joint"], "x.fa", model=bundle)
    with pytest.raises(ModelError, match="tiny takes no texts"):
        run(write_fasta(tmp_path / "y.fa", random_proteins(2)), model=tiny_bundle)


@pytest.mark.parametrize(
    ("options", "problem", "value"),
    [
        ({"aspects": ("MF", "XX")}, "unknown_value", "XX"),
        ({"aspects": ()}, "missing_option", "MF"),
        ({"top_k": 0}, "bad_value", "--top-k 0"),
        ({"min_probability": 0.001}, "bad_value", "--min-probability 0.001"),
        ({"min_probability": 1.1}, "bad_value", "--min-probability 1.1"),
        ({"fdr": 1.0}, "bad_value", "--fdr 1"),
        ({"fdr": 0.1, "min_probability": 0.5}, "conflicting_options", "--fdr"),
        ({"specific": True, "propagate": True}, "conflicting_options", "--specific"),
        ({"specific": True, "slim": "x"}, "conflicting_options", "--slim"),
    ],
)
def test_options_that_make_no_sense(options, problem, value):
    with refused(f"usage.{problem}", value):
        run("nowhere.fa", **options)


def test_proteins_unlike_those_of_the_calibration_have_no_probability(bundle, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    ((_, sequence),) = random_proteins(1, seed=9, shortest=80, longest=80)
    strange = {"one": "M", "lysines": "K" * 10, "unknown": "X" * 300, "epitope": "SIINFEKL"}
    path = write_fasta(tmp_path / "x.fa", [("whole", sequence), *strange.items()])
    found, annotation = run(path, model=bundle, top_k=2)
    for protein in found:
        assert protein.terms
        chances = [one.probability is None for one in protein.terms]
        assert all(chances) if protein.protein_id in strange else not any(chances)
    assert annotation.report.outside == 4
    assert annotation.report.first_outside == "one: 1 residues, fewer than 30"
    (line,) = [r.getMessage() for r in caplog.records if "no probability" in r.getMessage()]
    assert line.startswith("4 proteins")
    # A threshold on probabilities lists nothing of them, whatever it is.
    found, _ = run(path, model=bundle, min_probability=0.01)
    assert {p.protein_id for p in found if p.terms} <= {"whole"}
    found, _ = run(path, model=bundle, fdr=0.99)
    assert {p.protein_id for p in found if p.terms} <= {"whole"}


def test_what_is_unsure_is_said(bundle, stores, caplog):
    caplog.set_level(logging.WARNING)
    found, _ = run(stores["joint"], model=bundle, fdr=1e-6)
    assert not any(p.terms for p in found)
    assert [r.message[:2] for r in caplog.records] == list(ASPECTS)

"""Structures on their way into stores, and what can be done with those."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from protclip_core import EmbedRequest, SearchRequest, embed_to_store, search
from protclip_core.errors import InputError, ModelError, UsageError
from protclip_core.heads import load_head
from protclip_core.io.structures import read_structures
from protclip_core.models.loading import load_model, load_structure_model
from protclip_core.progress import SilentProgress
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.tools import merge_stores
from protclip_core.tasks.annotate.request import AnnotateRequest
from protclip_core.tasks.annotate.task import Annotation
from protclip_core.tasks.classify.fit import fit
from protclip_core.tasks.classify.predict import Predicting
from protclip_core.tasks.classify.request import FitRequest, PredictRequest
from protclip_core.tasks.embed.plan import plan_embedding
from protclip_core.tasks.ppi.vectors import VectorOptions, load_proteins
from protclip_core.vectors.source import open_vectors
from tests.support.chains import make_chain
from tests.support.once import once
from tests.support.structures import NAMES, Atom, pdb
from tests.support.trimodal import write_trimodal, write_two_towers


def written(chain, letter="A"):
    """Give the atoms of a made chain."""
    return [
        Atom(name, NAMES[residue], letter, place, tuple(float(x) for x in xyz))
        for place, residue in enumerate(chain.sequence, 1)
        for name, xyz in zip(("N", "CA", "C", "O"), chain.backbone[place - 1])
    ]


@pytest.fixture(scope="module")
def trimodal(tmp_path_factory):
    return str(once(tmp_path_factory, "trimodal", write_trimodal))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three files, of one chain, two chains and one chain, and the same proteins as FASTA."""
    folder = tmp_path_factory.mktemp("structures")
    chains = [make_chain(length, seed) for seed, length in enumerate((40, 25, 33, 60))]
    (folder / "one.pdb").write_text(pdb(written(chains[0])))
    (folder / "two.pdb").write_text(pdb(written(chains[1]), written(chains[2], "B")))
    (folder / "zwei.ent").write_text(pdb(written(chains[3])))
    ids = ["one", "two_A", "two_B", "zwei"]
    fasta = "".join(f">{id}\n{chain.sequence}\n" for id, chain in zip(ids, chains))
    (folder.parent / "same.fa").write_text(fasta)
    return folder


@pytest.fixture
def embedded(trimodal, folder, tmp_path):
    """``embedded(**options)`` embeds the folder and returns the path of the store."""

    def embedded(name="x.h5", inputs=(str(folder),), **options):
        options.setdefault("model", trimodal)
        request = EmbedRequest(inputs=inputs, output=tmp_path / name, device="cpu", **options)
        embed_to_store(request)
        return request.output

    return embedded


def contents(path):
    with EmbeddingStore.open(path) as store:
        return list(store.ids), store.read(slice(None)), dict(store.attributes)


def test_a_folder_of_structures_becomes_a_store_of_joint_vectors(embedded, trimodal, folder):
    ids, vectors, attributes = contents(embedded())
    assert ids == ["one", "two_A", "two_B", "zwei"]
    chains = [record.chain for record in read_structures([folder])]
    wanted = load_structure_model(trimodal, device="cpu").embed(chains)
    assert np.abs(vectors - wanted).max() < 1e-6
    assert (attributes["modality"], attributes["space"]) == ("structure", "joint")
    assert attributes["structure_sha256"] == load_structure_model(trimodal).structure_sha256


def test_encoder_vectors_are_those_of_the_structure_encoder(embedded, trimodal, folder):
    _, vectors, attributes = contents(embedded(space="encoder"))
    chains = [record.chain for record in read_structures([folder])]
    wanted = load_structure_model(trimodal, device="cpu").embed(chains, space="encoder")
    assert np.abs(vectors - wanted).max() < 1e-6
    assert attributes["space"] == "encoder"


@pytest.mark.parametrize("space", [None, "joint"])
def test_sequences_of_structures_are_embedded_as_fasta_is(embedded, folder, space):
    fasta = str(folder.parent / "same.fa")
    ids, vectors, attributes = contents(embedded("a.h5", modality="sequence", space=space))
    others = contents(embedded("b.h5", inputs=(fasta,), space=space))
    assert ids == others[0]
    assert np.array_equal(vectors, others[1])
    assert "modality" not in attributes
    assert attributes["input_sha256"] == others[2]["input_sha256"]


def test_any_model_embeds_sequences_and_only_one_with_a_tower_structures(embedded, tmp_path):
    model = str(write_two_towers(tmp_path / "two").path)
    with pytest.raises(UsageError) as caught:
        embedded(model=model)
    assert caught.value.code == "usage.no_structure_encoder"
    assert "--modality sequence" in caught.value.hint
    assert len(contents(embedded(model=model, modality="sequence"))[0]) == 4


@pytest.mark.parametrize(
    ("inputs", "options", "code"),
    [
        (("{fasta}",), {"modality": "structure"}, "usage.no_structures"),
        (("{folder}", "{fasta}"), {}, "usage.mixed_modalities"),
        (("{folder}", "{fasta}"), {"modality": "structure"}, "usage.mixed_modalities"),
        (("{fasta}",), {"chains": ("A",)}, "usage.conflicting_options"),
        (("{folder}",), {"modality": "picture"}, "usage.unknown_value"),
        (("{folder}",), {"per_residue": True}, "usage.conflicting_options"),
        (("{folder}",), {"layer": 1}, "usage.conflicting_options"),
        (("{folder}",), {"long": "truncate"}, "usage.conflicting_options"),
        (("{folder}",), {"max_residues": 100}, "usage.conflicting_options"),
        (("{folder}",), {"pooling": "tokens"}, "usage.conflicting_options"),
        (("{folder}",), {"dtype": "bfloat16"}, "usage.conflicting_options"),
        (("{folder}",), {"space": "cosmos"}, "usage.unknown_value"),
    ],
)
def test_what_does_not_fit_together_is_refused(embedded, folder, inputs, options, code):
    places = {"folder": folder, "fasta": folder.parent / "same.fa"}
    with pytest.raises(UsageError) as caught:
        embedded(inputs=tuple(one.format(**places) for one in inputs), **options)
    assert caught.value.code == code


def test_sequences_of_both_kinds_of_file_may_be_together(embedded, folder):
    fasta = str(folder.parent / "same.fa")
    ids, _, _ = contents(embedded(inputs=(str(folder), fasta), modality="sequence"))
    assert ids == ["one", "two_A", "two_B", "zwei"]  # repeated records are kept once


def test_chosen_chains_alone_are_embedded(embedded, folder):
    path = str(folder / "two.pdb")
    assert contents(embedded(inputs=(path,), chains=("B",)))[0] == ["two_B"]
    with pytest.raises(InputError) as caught:
        embedded("y.h5", inputs=(path,), chains=("C",))
    assert caught.value.code == "input.no_such_chain"


@pytest.mark.parametrize(
    ("content", "code"), [("", "input.empty"), ("hello\n", "input.unknown_format")]
)
def test_one_bad_file_ends_the_run_or_is_listed(embedded, folder, tmp_path, content, code):
    bad = tmp_path / "bad.pdb"
    bad.write_text(content)
    inputs = (str(bad), str(folder))
    with pytest.raises(InputError) as caught:
        embedded(inputs=inputs)
    assert caught.value.code == code
    path = embedded(inputs=inputs, on_error="skip")
    assert len(contents(path)[0]) == 4
    assert "bad.pdb\t0\tbad\t" in path.with_name("x.h5.failed.tsv").read_text()


def test_a_store_goes_on_with_the_same_modality_alone(embedded, folder):
    one = (str(folder / "one.pdb"),)
    path = embedded(inputs=one)
    before = contents(path)
    for options in ({"modality": "sequence"}, {"modality": "sequence", "space": "joint"}):
        with pytest.raises(UsageError) as caught:
            embedded(resume=True, **options)
        assert caught.value.code == "usage.other_settings"
        assert "modality" in caught.value.message
    embedded("s.h5", inputs=one, modality="sequence", space="joint")
    with pytest.raises(UsageError) as caught:
        embedded("s.h5", resume=True)
    assert "modality" in caught.value.message
    ids, vectors, _ = contents(embedded(resume=True))
    assert ids == ["one", "two_A", "two_B", "zwei"]
    assert np.array_equal(vectors[:1], before[1])


def test_stores_of_two_modalities_are_not_merged(embedded, folder, tmp_path):
    paths = [embedded("a.h5"), embedded("b.h5", modality="sequence", space="joint")]
    with pytest.raises(UsageError) as caught:
        merge_stores(paths, tmp_path / "m.h5")
    assert caught.value.code == "usage.other_settings"
    assert "modality" in caught.value.message


def test_another_structure_encoder_is_another_model(embedded, trimodal, tmp_path, folder):
    embedded()
    write_trimodal(tmp_path / "other", seed=1)
    with pytest.raises(UsageError) as caught:
        embedded(resume=True, model=str(tmp_path / "other"))
    assert "structure_sha256" in caught.value.message


def test_a_plan_counts_structures_and_estimates_only_what_it_can(trimodal, folder):
    plan = plan_embedding(EmbedRequest(inputs=(str(folder),), model=trimodal))
    assert (plan.summary.records, plan.summary.residues, plan.dim) == (4, 158, 512)
    assert (plan.memory_bytes, plan.gigaflops) == (None, None)
    names = [name for name, _ in plan.rows()]
    assert "distinct structures" in names
    assert "work" not in names


def hits(store, model, **options):
    request = SearchRequest(store=store, model=model, device="cpu", **options)
    return [(hit.query, hit.id, hit.cosine) for hit in search(request)]


def cosines(one, other):
    return {(a, b): float(x @ y) for a, x in one.items() for b, y in other.items()}


@pytest.fixture(scope="module")
def three(trimodal, folder):
    """Give unit vectors of each modality in the joint space, by name."""
    model = load_model(trimodal, device="cpu")
    records = list(read_structures([folder]))
    ids = [record.chain.id for record in records]
    return {
        "structure": dict(zip(ids, model.embed_structures([r.chain for r in records]))),
        "sequence": dict(zip(ids, model.embed_proteins([r.chain.sequence for r in records]))),
        "text": {text: model.embed_text([text])[0] for text in ("lysozyme", "zinc binding")},
    }


@pytest.mark.parametrize("like", ["structure", "sequence"])
@pytest.mark.parametrize("held", ["structure", "sequence", "encoder"])
def test_any_modality_finds_any_other(embedded, trimodal, folder, three, held, like):
    options = {"modality": "sequence", "space": "encoder"} if held == "encoder" else {}
    if held == "sequence":
        options = {"modality": "sequence", "space": "joint"}
    store = embedded(**options)
    query = str(folder if like == "structure" else folder.parent / "same.fa")
    found = hits(store, trimodal, like=(query,))
    wanted = cosines(three[like], three["structure" if held == "structure" else "sequence"])
    assert len(found) == 16
    for query, id, cosine in found:
        assert cosine == pytest.approx(wanted[query, id], abs=2e-5)


def test_texts_find_structures_without_the_model_that_embedded_them(embedded, three):
    found = hits(embedded(), None, texts=tuple(three["text"]))
    wanted = cosines(three["text"], three["structure"])
    assert len(found) == 8
    for query, id, cosine in found:
        assert cosine == pytest.approx(wanted[query, id], abs=2e-5)


def test_outside_of_the_joint_space_modalities_do_not_meet(embedded, trimodal, folder):
    store = embedded("a.h5", modality="sequence")
    with pytest.raises(UsageError) as caught:
        hits(store, trimodal, like=(str(folder),), space="encoder")
    assert caught.value.code == "usage.other_space"
    structures = embedded("b.h5", space="encoder")
    for options in ({"texts": ("lysozyme",)}, {"like": (str(folder.parent / "same.fa"),)}):
        with pytest.raises(UsageError) as caught:
            hits(structures, trimodal, **options)
        assert caught.value.code == "usage.other_space"
    found = hits(structures, trimodal, like=(str(folder),), space="encoder")
    best = [(query, id) for query, id, _ in found[::4]]
    assert best == [(id, id) for id in ("one", "two_A", "two_B", "zwei")]


@pytest.mark.parametrize("stored", [True, False])
def test_terms_of_structures_have_cosines_and_no_probabilities(embedded, trimodal, folder, stored):
    inputs = (str(embedded() if stored else folder),)
    request = AnnotateRequest(inputs=inputs, location=True, model=trimodal, device="cpu")
    with Annotation(request) as annotation:
        proteins = list(annotation.proteins())
    terms = [term for protein in proteins for term in protein.terms]
    assert [protein.protein_id for protein in proteins] == ["one", "two_A", "two_B", "zwei"]
    assert len(terms) == 40
    assert all(np.isnan(term.probability) for term in terms if term.probability is not None)
    assert all(-1 <= term.cosine <= 1 for term in terms)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"min_probability": 0.5}, "usage.no_calibration"),
        ({"fdr": 0.1}, "usage.no_calibration"),
        ({"explain": True}, "usage.conflicting_options"),
        ({"go": True, "reliability": True}, "usage.no_calibration"),
    ],
)
def test_what_needs_probabilities_or_sequences_is_refused(trimodal, folder, options, code):
    request = AnnotateRequest(inputs=(str(folder),), location=True, model=trimodal, **options)
    with pytest.raises(UsageError) as caught:
        Annotation(request)
    assert caught.value.code == code


def test_sequences_of_structures_keep_their_probabilities(trimodal, folder):
    both = []
    for inputs in (str(folder), str(folder.parent / "same.fa")):
        request = AnnotateRequest(
            inputs=(inputs,), location=True, top_k=3, modality="sequence", model=trimodal
        )
        with Annotation(request) as annotation:
            both.append([[t.probability for t in p.terms] for p in annotation.proteins()])
    assert both[0] == both[1]
    assert any(not np.isnan(p) for protein in both[0] for p in protein)


@pytest.fixture(scope="module")
def head(trimodal, tmp_path_factory):
    """A head on joint vectors of sequences."""
    folder = tmp_path_factory.mktemp("head")
    rng = np.random.default_rng(0)
    kinds = {"rich in K": "KKKRE", "rich in L": "LLVFI"}
    lines, labels = [], ["protein_id\tlabel\n"]
    for number in range(60):
        label, letters = list(kinds.items())[number % 2]
        sequence = "".join(rng.choice(list(letters + "ACDG"), 50))
        lines.append(f">p{number}\n{sequence}\n")
        labels.append(f"p{number}\t{label}\n")
    (folder / "x.fa").write_text("".join(lines))
    (folder / "labels.tsv").write_text("".join(labels))
    request = FitRequest(
        labels=str(folder / "labels.tsv"),
        inputs=(str(folder / "x.fa"),),
        output=folder / "x.head",
        space="joint",
        model=trimodal,
        device="cpu",
        split="random",
    )
    fit(request, SilentProgress())
    return folder / "x.head"


def predicted(head, inputs, **options):
    request = PredictRequest(head=head, inputs=(str(inputs),), device="cpu", **options)
    with Predicting(request) as predicting:
        return list(predicting.predictions())


def test_a_head_of_sequences_gives_structures_no_probability(head, trimodal, folder, embedded):
    for inputs in (folder, embedded()):
        found = predicted(head, inputs, model=trimodal)
        assert [one.protein_id for one in found] == ["one", "two_A", "two_B", "zwei"]
        assert all(np.isnan(one.probability) and one.note for one in found)
    with pytest.raises(UsageError) as caught:
        predicted(head, folder, model=trimodal, min_probability=0.5)
    assert caught.value.code == "usage.no_calibration"
    by_sequence = predicted(head, folder, model=trimodal, modality="sequence")
    fasta = predicted(head, folder.parent / "same.fa", model=trimodal)
    assert [(p.label, p.note) for p in by_sequence] == [(p.label, p.note) for p in fasta]


def test_a_head_of_structures_gives_structures_probabilities(embedded, trimodal, tmp_path):
    chains = [make_chain(30, seed, name=f"s{seed}") for seed in range(40)]
    folder = tmp_path / "many"
    folder.mkdir()
    for chain in chains:
        (folder / f"{chain.id}.pdb").write_text(pdb(written(chain)))
    labels = "".join(f"s{seed}\t{'odd' if seed % 2 else 'even'}\n" for seed in range(40))
    (tmp_path / "labels.tsv").write_text(f"protein_id\tlabel\n{labels}")
    store = embedded("many.h5", inputs=(str(folder),))
    request = FitRequest(
        labels=str(tmp_path / "labels.tsv"),
        inputs=(str(store),),
        output=tmp_path / "s.head",
        split="random",
    )
    assert fit(request, SilentProgress()).card.input.of_structures
    answered = [one for one in predicted(tmp_path / "s.head", store) if not one.note]
    assert len(answered) > 30
    assert all(0 <= one.probability <= 1 for one in answered)
    by_sequence = embedded("sequences.h5", inputs=(str(folder),), modality="sequence")
    noted = predicted(tmp_path / "s.head", by_sequence, model=trimodal)
    assert all(np.isnan(one.probability) and one.note for one in noted)


def test_a_pair_head_of_sequences_refuses_structures(head, embedded):
    like = load_head(head).card.input
    options = VectorOptions(inputs=(str(embedded()),))
    with pytest.raises(ModelError) as caught:
        load_proteins(options, SilentProgress(), like)
    assert caught.value.code == "model.head_mismatch"


def test_modalities_are_not_joined(embedded, trimodal, folder):
    sequences = str(embedded("a.h5", modality="sequence", space="joint"))
    structures = str(embedded("b.h5"))
    fasta = str(folder.parent / "same.fa")
    for inputs in ((sequences, structures), (sequences, str(folder)), (structures, fasta)):
        with pytest.raises(UsageError) as caught:
            open_vectors(inputs, model=trimodal, device="cpu", several=True)
        assert caught.value.code == "usage.mixed_modalities"
    with open_vectors([structures, str(folder)], model=trimodal, several=True) as source:
        assert [id for b in source.blocks(SilentProgress()) for id in b.ids] == [
            *("one", "two_A", "two_B", "zwei")
        ]


def test_structures_are_read_by_every_command_that_takes_proteins(trimodal, folder):
    with open_vectors([str(folder)], model=trimodal, device="cpu") as source:
        blocks = list(source.blocks(SilentProgress()))
        assert source.spec.of_structures
    assert [id for block in blocks for id in block.ids] == ["one", "two_A", "two_B", "zwei"]
    sequences = [one for block in blocks for one in block.sequences]
    assert sequences == [record.chain.sequence for record in read_structures([folder])]


def test_a_list_of_files_is_read_in_its_order(embedded, folder, tmp_path):
    paths = [folder / name for name in ("zwei.ent", "one.pdb")]
    (tmp_path / "list").write_text("".join(f"{path}\n" for path in paths))
    assert contents(embedded(inputs=(f"@{tmp_path / 'list'}",)))[0] == ["zwei", "one"]
    assert Path(tmp_path / "x.h5").exists()

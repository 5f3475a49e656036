"""Residues of listed terms, as they come out of an annotation."""

from __future__ import annotations

import numpy as np
import pytest

from protclip_core.errors import ResourceError
from protclip_core.models.loading import load_model
from protclip_core.models.settings import resolve_settings
from protclip_core.tasks.annotate.explain import Explainer, explained_proteins
from protclip_core.tasks.annotate.plot import MOST_TERMS, draw_tracks, tracks_of
from protclip_core.tasks.annotate.request import AnnotateRequest
from protclip_core.tasks.annotate.task import Annotation
from protclip_core.tasks.embed.task import embed_to_store
from protclip_core.terms.explain import explain_terms
from protclip_core.terms.index_file import add_to_bundle
from protclip_core.vectors.embed_request import EmbedRequest
from protclip_core.vectors.sequence_queue import SequenceQueue
from protclip_core.weights.bundle import open_bundle
from tests.support.go_indexes import index_of
from tests.support.helpers import random_proteins, write_fasta
from tests.support.refusals import refused
from tests.unit.models.dual import JOINT, Dual
from tests.unit.models.skips import READS_INPUT, Skips

#: More than one block of 64, and longer than the k-mer model's window of 40 residues.
PROTEINS = random_proteins(70, seed=4, shortest=1, longest=90)


@pytest.fixture(scope="module", params=["esm2", "kmer"])
def bundle(request, tmp_path_factory):
    dual = Dual() if request.param == "esm2" else Skips(READS_INPUT)
    folder = dual.write(tmp_path_factory.mktemp("explain") / request.param)
    add_to_bundle(index_of(folder), open_bundle(folder))
    return folder


def explained(bundle, path, *, only=None, **options):
    request = AnnotateRequest(
        inputs=(str(path),),
        model=str(bundle),
        device="cpu",
        explain=True,
        **{"go": True, **options},
    )
    with Annotation(request) as annotation:
        return list(explained_proteins(annotation, only=only))


def plain(protein):
    """What must not depend on others, as plain data."""
    return [
        (one.term, r.segments, r.cosine, r.cosine_without, r.profile.tolist())
        for part, residues in zip(protein.found, protein.residues, strict=True)
        for one, r in zip(part.terms, residues, strict=True)
    ]


@pytest.fixture(scope="module")
def together(bundle, tmp_path_factory):
    path = write_fasta(tmp_path_factory.mktemp("proteins") / "x.fa", PROTEINS)
    return explained(bundle, path, top_k=3)


def test_each_protein_has_its_own_sequence(together):
    assert [(one.protein_id, one.sequence) for one in together] == PROTEINS


def test_it_is_what_the_model_says_of_the_protein(bundle, together):
    model, index = load_model(str(bundle), device="cpu"), index_of(bundle)
    settings = resolve_settings(model.info, model.encoder.num_layers, per_residue=True)
    some = 0
    for protein in together[::7]:
        (found,) = model.embed_batch([protein.sequence], settings)
        terms = index.unit_vectors([one.term for one in protein.found[0].terms])
        wanted = explain_terms(model, found.vector, found.residues, terms, pooling=settings.pooling)
        for one, listed, residues in zip(
            wanted, protein.found[0].terms, protein.residues[0], strict=True
        ):
            assert residues.segments == one.segments
            assert residues.cosine == pytest.approx(listed.cosine, abs=1e-4)
            np.testing.assert_allclose(residues.profile, one.profile, atol=1e-3)
            some += bool(one.segments)
    assert some > 10


def test_neighbours_and_order_do_not_matter(bundle, together, tmp_path):
    wanted = {one.protein_id: plain(one) for one in together}
    few = write_fasta(tmp_path / "few.fa", PROTEINS[40:20:-5])
    for protein in explained(bundle, few, top_k=3):
        assert plain(protein) == wanted[protein.protein_id]


def test_with_fdr_all_are_seen_before_the_first(bundle, tmp_path):
    path = write_fasta(tmp_path / "x.fa", PROTEINS)
    found = explained(bundle, path, fdr=0.6)
    assert [(one.protein_id, one.sequence) for one in found] == PROTEINS
    assert any(r.segments for one in found for r in one.residues[0])


def test_several_vocabularies(bundle, together, tmp_path):
    path = write_fasta(tmp_path / "x.fa", PROTEINS[:6])
    found = explained(bundle, path, labels=("atp binding", "zinc kinase"), top_k=3)
    assert [one.sequence for one in found] == [sequence for _, sequence in PROTEINS[:6]]
    for protein, alone in zip(found, together):
        assert [part.vocabulary for part in protein.found] == [0, 1]
        assert [len(residues) for residues in protein.residues] == [9, 2]
        assert plain(protein)[:9] == plain(alone)
        assert {len(r.profile) for r in protein.residues[1]} == {len(protein.sequence)}


def test_only_one(bundle, tmp_path, together):
    path = write_fasta(tmp_path / "x.fa", PROTEINS[:4])
    first, second, *_ = explained(bundle, path, only="p1", top_k=3)
    assert first.residues == [[None] * 9]
    assert plain(second) == plain(together[1])


def test_what_has_no_sequences_is_refused(bundle, tmp_path):
    path, store = write_fasta(tmp_path / "x.fa", PROTEINS[:3]), tmp_path / "x.h5"
    embed_to_store(EmbedRequest(inputs=(str(path),), output=store, model=str(bundle), device="cpu"))
    with refused("usage.needs_sequences", "x.h5", "FASTA"):
        explained(bundle, store)
    request = AnnotateRequest(inputs=(str(path),), model=str(bundle), device="cpu", go=True)
    with Annotation(request) as annotation, refused("usage.needs_sequences"):
        next(explained_proteins(annotation))


def test_numbers_that_are_none_are_no_explanation(tmp_path):
    model = load_model(str(Skips(READS_INPUT).write(tmp_path / "kmer")), device="cpu")
    model.encoder.module.tables[0].weight.data.fill_(float("nan"))
    terms = np.full((1, JOINT), JOINT**-0.5, np.float32)
    with Explainer(model) as explainer, pytest.raises(ResourceError, match="NaN"):
        explainer.residues_of("MKTAYIAKQR", terms)


def test_a_queue_keeps_the_order():
    with SequenceQueue() as queue:
        queue.put(None, ["AC", "M"])
        assert queue.take() == "AC"
        queue.put(None, ["W" * 100_000])
        assert [queue.take(), len(queue.take())] == ["M", 100_000]
        with pytest.raises(IndexError):
            queue.take()


def test_the_picture_shows_the_best(bundle, tmp_path):
    path = write_fasta(tmp_path / "x.fa", [PROTEINS[5]])
    ontology = index_of(bundle).ontology
    (protein,) = explained(bundle, path, min_probability=0.01)
    terms = protein.found[0].terms
    assert len(terms) > MOST_TERMS
    ids = [track.id for track in tracks_of(protein, [ontology])]
    assert len(ids) == MOST_TERMS
    listed = {ontology.ids[one.term]: one for one in terms}
    assert ids == [id for id in listed if id in set(ids)]
    general = {
        ontology.ids[above] for one in terms for above in ontology.ancestors(one.term).tolist()
    }
    left = set(listed) - set(ids)
    # What was left out is more general than all that is drawn, or less likely.
    if general & set(ids):
        assert left <= general
    worst = min(listed[id].probability for id in set(ids) - general)
    assert all(listed[id].probability <= worst for id in left - general)
    tracks = tracks_of(protein, [ontology])
    first = draw_tracks("p", "c", protein.sequence, tracks, form="svg")
    assert first == draw_tracks("p", "c", protein.sequence, tracks, form="svg")

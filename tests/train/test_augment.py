"""Texts of GO terms from a release: what is read, what is said, and that it is repeatable."""

import gzip
import re

import pytest

from protclip_core.errors import InputError, ModelError
from tests.train.small_release import OBO, as_table
from train.protanno.augment import sentences
from train.protanno.augment.composer import ComposerOptions, TermComposer
from train.protanno.augment.phrases import a, capital, first_clause, noun_phrase, shape_of, verbal
from train.protanno.augment.release import Term, read_release

HEXOKINASE, KINASE, REPLICATION, NEGATIVE = "GO:0004396", "GO:0016301", "GO:0006260", "GO:0008156"
OBSOLETE = "GO:0000009"


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    path = tmp_path_factory.mktemp("release") / "go-basic.obo"
    path.write_text(OBO)
    return read_release(path)


@pytest.fixture(scope="module")
def composer(release):
    return TermComposer(release, seed=5)


def texts_of(composer, id, number=300):
    return {composer.compose(id, epoch) for epoch in range(number)}


def test_release_says_what_the_file_says(release):
    assert release.name == "2024-01-17" and len(release.terms) == 16
    assert release.obsolete == {OBSOLETE}
    term = release.terms[NEGATIVE]
    assert term.negatively_regulates == (REPLICATION,) and term.is_a == ("GO:0006275",)
    assert release.terms[REPLICATION].part_of == ("GO:0007049",)
    statuses = [release.status(id) for id in (KINASE, OBSOLETE, "GO:0000901", "GO:7777777")]
    assert statuses == ["active", "obsolete", "alternative", "unknown"]


def test_only_exact_synonyms_that_name_one_thing_are_taken(release):
    # "hexokinase" is an enzyme and no function, "cell cycle" is the name of another term.
    assert release.terms[HEXOKINASE].exact == ("ATP:D-hexose 6-phosphotransferase activity",)
    assert release.terms[REPLICATION].exact == ("DNA doubling",)
    assert release.terms["GO:0007049"].exact == ()


def test_ids_within_definitions_are_left_out(release):
    told = release.terms[KINASE].definition
    assert told == "Catalysis of the transfer of a phosphate group; see."


@pytest.mark.parametrize("compressed", [False, True])
def test_tables_give_the_same_release(tmp_path, release, compressed):
    path = tmp_path / ("go.tsv.gz" if compressed else "go.tsv")
    data = as_table(release, scopes=True).encode()
    path.write_bytes(gzip.compress(data) if compressed else data)
    found = read_release(path)
    assert found.terms == release.terms and found.obsolete == release.obsolete
    assert found.alternatives == release.alternatives and found.name == release.name


def test_synonyms_without_scope_are_not_used_unless_another_release_tells_it(tmp_path, release):
    bare, scoped = tmp_path / "new.tsv", tmp_path / "old.tsv"
    bare.write_text(as_table(release, scopes=False).replace("\tnucleus\t", "\tthe nucleus\t"))
    scoped.write_text(as_table(release, scopes=True))
    assert not any(term.exact for term in read_release(bare).terms.values())
    found = read_release(bare, scopes=scoped)
    assert found.terms[REPLICATION].exact == ("DNA doubling",)
    assert found.terms["GO:0005634"].exact == (), "its name differs, so its synonyms may too"
    assert len(found.sha256) == 2 and found.sha256[0] != found.sha256[1]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda text: text.replace("\taspect\t", "\tpart\t"), "model.missing_column"),
        (lambda text: text.rsplit("\t", 9)[0], "model.bad_line"),
        (lambda text: text.replace("\tMF\t", "\tXX\t", 1), "model.bad_line"),
        (lambda text: text + text.splitlines()[-2] + "\n", "model.duplicate_id"),
        (lambda text: "\n".join(text.splitlines()[:2]) + "\n", "model.empty"),
        (lambda text: "MKTAYIAKQR\n", "model.other_format"),
    ],
)
def test_what_is_no_release_is_refused(tmp_path, release, change, code):
    path = tmp_path / "go.tsv"
    path.write_text(change(as_table(release, scopes=True)))
    with pytest.raises(ModelError) as caught:
        read_release(path)
    assert caught.value.code == code


def test_a_text_follows_from_seed_term_epoch_and_view(release, composer):
    again = TermComposer(release, seed=5)
    backwards = list(reversed(release.terms))
    found = {
        (id, e, v): composer.compose(id, e, v)
        for id in release.terms
        for e in (0, 7)
        for v in (0, 1)
    }
    for id in backwards:
        for view in (1, 0):
            for epoch in (7, 0):
                assert again.compose(id, epoch, view) == found[id, epoch, view]
    assert len({composer.compose(HEXOKINASE, epoch) for epoch in range(20)}) > 5
    other = TermComposer(release, seed=6)
    assert any(other.compose(HEXOKINASE, e) != composer.compose(HEXOKINASE, e) for e in range(5))


def test_two_views_differ(release, composer):
    for id in release.terms:
        for epoch in range(20):
            first, second = composer.views(id, epoch)
            assert first != second, id


def test_nothing_obsolete_or_unknown_is_composed(composer):
    for id in (OBSOLETE, "GO:0000901", "GO:7777777"):
        with pytest.raises(InputError) as caught:
            composer.compose(id, 0)
        assert caught.value.code == "input.unknown_term"


def test_texts_hold_no_id_no_obsolete_name_no_loose_synonym(release, composer):
    for id in release.terms:
        for text in texts_of(composer, id, 60):
            assert not re.search(r"GO:\d|obsolete|glucokinase|kinase of sugars", text, re.I), text


def test_every_text_is_whole_sentences(release, composer):
    for id in release.terms:
        for text in texts_of(composer, id, 60):
            assert text.endswith(".") and ".." not in text and "  " not in text, text
            assert text[0].isupper() or text[0].isdigit(), text
            assert not re.search(r"\b(?:a a|an? the|the the|of\.|the\.)", text), text


def test_templates_by_aspect_and_shape(release, composer):
    told = {id: " | ".join(sorted(texts_of(composer, id))) for id in release.terms}
    for part in (
        "Acts as a hexokinase.",
        "Catalyzes the reaction: ATP + D-hexose = ADP + D-hexose 6-phosphate.",
        "Hexokinase activity is a kind of kinase activity.",
        "Hexokinase activity is also called ATP:D-hexose 6-phosphotransferase activity.",
    ):
        assert part in told[HEXOKINASE], part
    for part in (
        "Takes part in DNA doubling.",
        "DNA replication is part of the cell cycle.",
        "Takes part in DNA replication, the process in which a cell makes two molecules of",
        "DNA replication is a kind of cellular process.",
    ):
        assert part in told[REPLICATION], part
    for part in (
        "Inhibits DNA replication.",
        "DNA replication is suppressed by this protein.",
        "Takes part in the negative regulation of DNA replication.",
        "DNA replication is the process in which a cell makes two molecules of DNA of one",
    ):
        assert part in told[NEGATIVE], part
    assert "Binds to ATP" in told["GO:0005524"] and "Capable of ATP binding." in told["GO:0005524"]
    assert "Is a structural constituent of ribosome." in told["GO:0003735"]
    assert "The nuclear envelope is part of the nucleus." in told["GO:0005635"]
    assert "Found in the cell nucleus." in told["GO:0005634"]
    assert "A subunit of the delta DNA polymerase complex." in told["GO:0043625"]
    # The release does not say of what this is a regulation: cell size is no process to promote.
    assert "Positively regulates cell size." in told["GO:0045931"]
    assert "Promotes" not in told["GO:0045931"]


def test_roots_are_nobodys_kind(release, composer):
    for id in ("GO:0005524", "GO:0009987", "GO:0005634"):
        assert not any(
            "is a kind of" in text or "is a type of" in text for text in texts_of(composer, id)
        )


def test_what_is_switched_off_is_not_said(release):
    bare = ComposerOptions(
        synonyms=False, definitions=False, parents=False, wholes=False, regulates=False
    )
    composer = TermComposer(release, 5, bare)
    said = " ".join(texts_of(composer, REPLICATION) | texts_of(composer, HEXOKINASE))
    assert not re.search(r"doubling|reaction|kind of|type of|part of|origin", said)
    # A text of name alone still has its templates.
    assert "Takes part in DNA replication." in said


@pytest.mark.parametrize(
    ("phrase", "article"),
    [
        ("NAD kinase", "an"), ("UDP-glucosidase", "a"), ("mRNA cap", "an"), ("tRNA ligase", "a"),
        ("ubiquitin ligase", "a"), ("ATPase", "an"), ("histone", "a"), ("SUMO ligase", "a"),
        ("(R)-lyase", "an"), ("8-oxoguanine", "an"), ("1,3-glucanase", "a"), ("L-lysine", "an"),
        ("11-beta-lyase", "an"), ("uridine kinase", "a"), ("amylase", "an"), ("GTPase", "a"),
    ],
)  # fmt: skip
def test_articles_follow_the_sound(phrase, article):
    assert a(phrase) == f"{article} {phrase}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("found here", "Found here"), ("mRNA cap", "mRNA cap"), ("m-cresol", "m-cresol"),
        ("alpha-amylase", "Alpha-amylase"), ("ent-kaurene", "ent-kaurene"), ("a wall", "A wall"),
        ("1,3-beta", "1,3-beta"), ("p53 binding", "p53 binding"), ("cAMP", "cAMP"),
    ],
)  # fmt: skip
def test_capitals_spare_what_is_written_its_own_way(before, after):
    assert capital(before) == after


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("cell cycle", "the cell cycle"), ("response to heat", "the response to heat"),
        ("DNA replication", "DNA replication"), ("protein folding", "protein folding"),
        ("lipid metabolic process", "the lipid metabolic process"),
        ("metabolic process", "a metabolic process"),
        ("2,4-xylenol metabolic process", "the 2,4-xylenol metabolic process"),
        ("T cell mediated immune response", "the T cell mediated immune response"),
    ],
)  # fmt: skip
def test_processes_that_are_counted_have_an_article(name, phrase):
    assert noun_phrase(Term("GO:0000001", name, "BP")) == phrase


@pytest.mark.parametrize(
    ("name", "aspect", "kind", "rest"),
    [
        ("positive regulation of growth", "BP", "positive", "growth"),
        ("up-regulation of growth", "BP", "positive", "growth"),
        ("regulation of growth", "BP", "regulation", "growth"),
        ("growth", "BP", "process", "growth"),
        ("ATP binding", "MF", "binding", "ATP"),
        ("DNA binding, bending", "MF", "role", "DNA binding, bending"),
        ("protein kinase activity", "MF", "agent", "protein kinase"),
        ("kinase activity, acting on paper", "MF", "activity", "kinase activity, acting on paper"),
        ("cargo activity", "MF", "activity", "cargo activity"),
        ("exosome complex", "CC", "complex", "exosome complex"),
        ("integral component of membrane", "CC", "component", "integral component of membrane"),
        ("cell surface", "CC", "place", "cell surface"),
    ],
)
def test_shapes_of_names(name, aspect, kind, rest):
    shape = shape_of(name, aspect)
    assert (shape.kind, shape.rest) == (kind, rest)


def test_places_have_their_preposition():
    said = sentences.leads(Term("GO:0000001", "cell surface", "CC"), "cell surface", None)
    assert "Found on the cell surface" in said
    said = sentences.leads(
        Term("GO:0000001", "cell-cell junction", "CC"), "cell-cell junction", None
    )
    assert "Located at the cell-cell junction" in said


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("The lipid bilayer of a vesicle, including proteins.", "The lipid bilayer of a vesicle"),
        ("What stops, prevents or slows it.", "What stops, prevents or slows it"),
        ("The hydrolysis of (1->3)-xylan. Seen in yeast.", "The hydrolysis of (1->3)-xylan"),
        ("Catalysis of the reaction: A; B = C.", "Catalysis of the reaction: A; B = C"),
        ("A cell; small.", "A cell; small"),
    ],
)  # fmt: skip
def test_first_clauses_can_stand_alone(text, clause):
    assert first_clause(text) == clause


def test_definitions_of_functions_become_verbs():
    assert verbal("Binding to a lectin.") == "binds to a lectin"
    told = "Combining with a peptide, and transmitting the signal to start it."
    assert verbal(told) == "combines with a peptide and transmits the signal to start it"
    assert verbal("The action of a motor.") == ""

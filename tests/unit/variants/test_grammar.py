"""The grammar of protein variants."""

from __future__ import annotations

import random

import pytest

from protclip_core.errors import InputError
from protclip_core.variants import (
    Change,
    Kind,
    ParseFailure,
    Variant,
    parse_variant,
    read_variant,
)

RESIDUES = "ACDEFGHIKLMNPQRSTVWYUO"


@pytest.mark.parametrize(
    ("texts", "short", "hgvs"),
    [
        ("A42G a42g p.A42G p.Ala42Gly p.(Ala42Gly) (A42G) ala42gly P.ALA42GLY p.[Ala42Gly] A042G",
         "A42G", "p.Ala42Gly"),
        ("A42= A42A p.Ala42= p.(Ala42=) p.Ala42%3D A42delinsA", "A42=", "p.Ala42="),
        ("A42* p.Ala42Ter Ala42* ala42stop A42delins*", "A42*", "p.Ala42Ter"),
        ("WT wt _wt wild-type p.= = p.(=)", "WT", "p.="),
        ("K23del p.Lys23del K23delK k23DEL", "K23del", "p.Lys23del"),
        ("K23_V25del p.Lys23_Val25del p.(Lys23_Val25delLysAlaVal)",
         "K23_V25del", "p.Lys23_Val25del"),
        ("K23_L24insRS p.Lys23_Leu24insArgSer LYS23_LEU24INSARGSER",
         "K23_L24insRS", "p.Lys23_Leu24insArgSer"),
        ("K23_L24insARG", "K23_L24insARG", "p.Lys23_Leu24insAlaArgGly"),
        ("Lys23_Leu24insARG", "K23_L24insR", "p.Lys23_Leu24insArg"),
        ("K23dup K23dupK", "K23dup", "p.Lys23dup"),
        ("K23_V25dup", "K23_V25dup", "p.Lys23_Val25dup"),
        ("K23_V25delinsRS K23_V25delKAVinsRS Lys23_Val25delinsArgSer",
         "K23_V25delinsRS", "p.Lys23_Val25delinsArgSer"),
        ("K23delinsR K23R", "K23R", "p.Lys23Arg"),
        ("K23delinsR*", "K23delinsR*", "p.Lys23delinsArgTer"),
        ("R97fs p.Arg97fs", "R97fs", "p.Arg97fs"),
        ("R97Pfs*23 p.Arg97ProfsTer23 p.Arg97ProfsX23 R97Pfsx23", "R97Pfs*23",
         "p.Arg97ProfsTer23"),
        ("R97Pfs*? p.Arg97ProfsTer?", "R97Pfs*?", "p.Arg97ProfsTer?"),
        ("*327Rext*17 X327Rext*17 p.Ter327ArgextTer17", "*327Rext*17", "p.Ter327ArgextTer17"),
        ("M1ext-5 p.Met1ext-5", "M1ext-5", "p.Met1ext-5"),
        ("M1? p.Met1? p.(Met1?)", "M1?", "p.Met1?"),
        ("p.0 p.0?", "p.0", "p.0"),
        ("p.? ? p.(?)", "p.?", "p.?"),
        ("U45C p.Sec45Cys", "U45C", "p.Sec45Cys"),
        ("*327= p.Ter327=", "*327=", "p.Ter327="),
        ("A-5G A-05G", "A-5G", "p.Ala-5Gly"),
        (("A42G:L50P A42G,L50P A42G;L50P A42G/L50P A42G+L50P A42G_L50P L50P:A42G"
         " p.[Ala42Gly;Leu50Pro] p.([Ala42Gly;Leu50Pro]) p.[(Ala42Gly);(Leu50Pro)]"
         " p.Ala42Gly:p.Leu50Pro"), "A42G:L50P", "p.[Ala42Gly;Leu50Pro]"),
    ],
)  # fmt: skip
def test_what_people_write_is_read_and_written_in_two_forms(texts, short, hgvs):
    for text in [*texts.split(), short, hgvs]:
        variant = parse_variant(text)
        assert (str(variant), variant.hgvs(), variant.protein) == (short, hgvs, ""), text


def test_blanks_part_changes_too():
    for text in (" A42G L50P ", "A42G, L50P", "A42G ; L50P"):
        assert str(parse_variant(text)) == "A42G:L50P"


@pytest.mark.parametrize(
    ("text", "protein", "short"),
    [
        ("NP_000537.3:p.Arg175His", "NP_000537.3", "R175H"),
        ("NP_000537.3(TP53):p.(Arg175His)", "NP_000537.3", "R175H"),
        ("NM_000546.6(TP53):c.524G>A (p.Arg175His)", "NM_000546.6", "R175H"),
        ("protein:A42G", "protein", "A42G"),
        ("sp|P04637|P53_HUMAN:A42G:L50P", "sp|P04637|P53_HUMAN", "A42G:L50P"),
        ("TP53 R175H", "TP53", "R175H"),
        ("TP53 p.R175H", "TP53", "R175H"),
        ("PROT_A41G", "PROT", "A41G"),
        ("BLAT_ECOLX_A42G_L50P", "BLAT_ECOLX", "A42G:L50P"),
        ("P04637_A42G", "P04637", "A42G"),
        ("H2A:p.Lys5Arg", "H2A", "K5R"),
        ("H2A:K5R", "", "H2A:K5R"),
        ("BRCA1:WT", "BRCA1", "WT"),
    ],
)
def test_a_protein_before_the_change_is_told_from_a_change(text, protein, short):
    variant = parse_variant(text)
    assert (variant.protein, str(variant)) == (protein, short)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("A12", "names no new residue"),
        ("A12-", "write A42del"),
        ("12", "is a number"),
        ("12G", "names no wild-type residue"),
        ("foo", "is not a variant"),
        ("A42X", "a stop in old notation and any residue elsewhere"),
        ("p.Arg42X", "write * for a stop"),
        ("X42G", "a stop in old notation"),
        ("p.Ala42Xaa", "unknown residue"),
        ("K23_L24insX", "holds X"),
        ("A42GLY", "not a residue"),
        ("A42G/V", "is not a variant"),
        ("A42G:", "is not a variant"),
        ("A42G;;L50P", "is not a variant"),
        ("p.[Ala42Gly];[Leu50Pro]", "two alleles"),
        ("p.Ala42Gly(;)Leu50Pro", "one molecule"),
        ("p.[Ala42Gly,Leu50Pro]", "proteins of one allele"),
        ("p.Gly56Ala^Ser", "alternatives"),
        ("p.Ala42=/Gly", "mosaic"),
        ("p.Gln18[23]", "repeat"),
        ("K23_L24ins(5)", "not given"),
        ("K23_L24ins", "inserts nothing"),
        ("K23insRS", "two neighbours"),
        ("K23_L25insRS", "two neighbours"),
        ("V25_K23del", "write the lower first"),
        ("A42_L50P", "takes del, ins, dup or delins"),
        ("A42_L50", "says nothing of its range"),
        ("K23_V25delKV", "states KV"),
        ("K23_L24insR*S", "a stop before its last residue"),
        ("A42G:A42V", "A42G and A42V overlap"),
        ("A42G:A42G", "is given twice"),
        ("R42*:A50G", "at or after the stop"),
        ("K23_V25del:K23_A24insG", "overlap"),
        ("K23_V25dup:V25_L26insR", "overlap"),
        ("c.524G>A", "DNA"),
        ("NM_000546.6:c.524G>A", "DNA"),
        ("rs429358", "dbSNP"),
        ("A9999999999G", "is not a variant"),
        ("A٤٢G", "is not a variant"),
        ("A42G:" * 5000 + "A42G", "has 25,004 characters"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_a_failure_with_a_reason(text, reason):
    failure = read_variant(text)
    assert isinstance(failure, ParseFailure)
    assert reason in failure.reason
    with pytest.raises(InputError, match="'"):
        parse_variant(text)


def test_a_failure_is_short_and_printable():
    failure = read_variant("A42\x1b[31m" + "G" * 500)
    assert len(failure.reason) < 200
    assert failure.reason.isprintable()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("R97fs", "R97fs is a frameshift"),
        ("M1ext-5", "M1ext-5 is an extension"),
        ("*327Rext*17", "is an extension"),
        ("*327R", "*327R loses the stop"),
        ("A320_*327del", "loses the stop"),
        ("M1?", "loses the start"),
        ("A42?", "unknown effect"),
        ("p.?", "p.? has an unknown effect"),
        ("p.0", "p.0 gives no protein"),
        ("A42B", "B, which stands for D or N"),
        ("A42G:R97fs", "R97fs is a frameshift"),
    ],
)
def test_what_has_no_mutated_sequence_says_why(text, reason):
    variant = parse_variant(text)
    assert reason in variant.unscorable
    with pytest.raises(InputError) as caught:
        variant.apply("M" * 400)
    assert variant.unscorable == caught.value.message


def test_substitutions_are_told_apart_from_the_rest():
    assert parse_variant("A42G:L50P").substitutions == (("A", 42, "G"), ("L", 50, "P"))
    assert parse_variant("A42G:L50=").only_substitutions
    assert not parse_variant("A42G:L50del").only_substitutions
    assert not parse_variant("L50=").only_substitutions
    assert parse_variant("L50=").is_wild_type
    assert parse_variant("WT").is_wild_type
    assert not parse_variant("A42*").is_wild_type


def random_change(rng, place):
    """A change that starts at a place, and the first place behind all that it speaks of."""

    def some(low, high):
        return "".join(rng.choice(RESIDUES) for _ in range(rng.randint(low, high)))

    kind = rng.choice(list(Kind))
    first, end = some(1, 1), place + rng.randint(0, 4)
    last = some(1, 1) if end > place else first
    if kind is Kind.INSERTION:
        last, end = some(1, 1), place + 1
        return Change(kind, place, end, first, last, some(1, 5)), end + 1
    if kind in (Kind.DELETION, Kind.DUPLICATION):
        return Change(kind, place, end, first, last), end + 1
    if kind is Kind.DELINS:
        return Change(kind, place, end, first, last, some(2, 6)), end + 1
    new = rng.choice([one for one in RESIDUES if one != first])
    if kind is Kind.FRAMESHIFT:
        return Change(kind, place, place, first, first, new, rng.choice(["", "9", "?"])), place + 1
    if kind is Kind.SUBSTITUTION:
        return Change(kind, place, place, first, first, new), place + 1
    return Change(Kind.SYNONYMOUS, place, place, first, first), place + 1


def test_random_variants_come_back_from_both_their_forms():
    rng = random.Random(11)
    for _ in range(2000):
        place, changes = rng.randint(-3, 30), []
        for _ in range(rng.randint(0, 4)):
            change, place = random_change(rng, place)
            changes.append(change)
            place += rng.randint(1, 5)
        variant = Variant(tuple(changes))
        assert read_variant(str(variant)) == variant
        assert read_variant(variant.hgvs()) == variant


def test_random_texts_end_in_a_variant_or_a_failure_and_variants_come_back():
    rng = random.Random(3)
    pieces = [
        *"ARNXB*=?:;,/_+- ()[]0\x00é\n", "A42G", "Lys23", "_", "ins", "del", "dup", "delins", "fs",
        "ext", "Ter", "p.", "17", "-5", "Xaa", "NP_1.2:", "K23_L24", "wt", "[Ala42Gly;", "c.1",
    ]  # fmt: skip
    read = 0
    for _ in range(10_000):
        text = "".join(rng.choice(pieces) for _ in range(rng.randint(1, 8)))
        found = read_variant(text)
        if isinstance(found, ParseFailure):
            assert found.reason.isprintable()
            continue
        read += 1
        assert read_variant(str(found)) == found, text
        assert read_variant(found.hgvs()) == found, text
    assert read > 200

"""Variants against sequences: what fits, what they make of them, what turns one into another."""

from __future__ import annotations

import random
from functools import cache

import pytest

from protclip_core.errors import InputError
from protclip_core.variants import (
    Change,
    Kind,
    OffsetFit,
    Variant,
    best_offset,
    nearest_offset,
    parse_variant,
    read_variant,
    variant_between,
)

SEQUENCE = "MAKQVLEXWG"
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


@pytest.mark.parametrize(
    ("text", "mutated"),
    [
        ("WT", "MAKQVLEXWG"),
        ("A2=", "MAKQVLEXWG"),
        ("*11=", "MAKQVLEXWG"),
        ("A2G", "MGKQVLEXWG"),
        ("G10P", "MAKQVLEXWP"),
        ("A2G:V5*", "MGKQ"),
        ("A2*", "M"),
        ("A2del", "MKQVLEXWG"),
        ("M1_Q4del", "VLEXWG"),
        ("Q4_V5insRS", "MAKQRSVLEXWG"),
        ("Q4_V5insRS:V5P:Q4del", "MAKRSPLEXWG"),
        ("Q4_V5insR*", "MAKQR"),
        ("K3dup", "MAKKQVLEXWG"),
        ("K3_V5dup:L6P", "MAKQVKQVPEXWG"),
        ("K3_V5delinsW", "MAWLEXWG"),
        ("K3_V5delinsRR*", "MARR"),
    ],
)
def test_what_a_variant_makes_of_a_sequence(text, mutated):
    assert parse_variant(text).apply(SEQUENCE) == mutated


def test_an_offset_is_the_place_in_the_text_less_that_in_the_sequence():
    assert parse_variant("A22G:W29F").apply(SEQUENCE, offset=20) == "MGKQVLEXFG"
    assert parse_variant("M0V").apply(SEQUENCE, offset=-1) == "VAKQVLEXWG"
    assert parse_variant("A-3G").apply(SEQUENCE, offset=-5) == "MGKQVLEXWG"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("A3G", "position 3 is K in the sequence, not A; it would fit at offset 1"),
        ("C3G", "position 3 is K in the sequence, not C; it fits at no offset"),
        ("K23R:V25A", "position 23 is outside the sequence (1 to 10); it would fit at offset 20"),
        ("M0V", "position 0 is outside the sequence (1 to 10); it would fit at offset -1"),
        ("W11F", "position 11 is outside the sequence (1 to 10); it would fit at offset 2"),
        ("A8G", "position 8 is X in the sequence: its wild type cannot be told"),
        ("E7_W9del", None),
        ("E7_X9del", "holds X"),
        ("K3_L5del", "position 5 is V in the sequence, not L"),
        ("K3_V5delKAV", "position 4 is Q in the sequence, not A"),
        ("Q4_L5insW", "position 5 is V in the sequence, not L"),
        ("*12=", "a stop is stated at 12, the sequence ends at 10"),
        ("M1*", "nothing is left of the protein"),
        ("M1_G10del", "nothing is left of the protein"),
        ("R97fs", "is a frameshift"),
    ],
)
def test_what_does_not_fit_is_named_with_the_way_out(text, fault):
    variant = read_variant(text)
    if fault == "holds X":
        assert fault in variant.reason
    elif fault is None:
        assert variant.fault(SEQUENCE) is None
    else:
        assert fault in variant.fault(SEQUENCE)
        with pytest.raises(InputError) as caught:
            variant.apply(SEQUENCE)
        assert caught.value.message == variant.fault(SEQUENCE)


def test_changes_built_by_hand_may_not_overlap_either():
    change = Change(Kind.SUBSTITUTION, 2, 2, "A", "A", "G")
    with pytest.raises(InputError, match="overlap"):
        Variant((change, Change(Kind.DELETION, 1, 3, "M", "K")))


def naive(sequence, variant):
    """Mutate residue by residue: what stands at each place, and what is put behind it."""
    cells = dict(enumerate(sequence, 1))
    behind = dict.fromkeys(range(len(sequence) + 1), "")
    for change in variant.changes:
        span = range(change.start, change.end + 1)
        if change.kind is Kind.INSERTION:
            behind[change.start] = change.inserted
        elif change.kind is Kind.DUPLICATION:
            behind[change.end] = "".join(sequence[place - 1] for place in span)
        elif change.kind is not Kind.SYNONYMOUS:
            cells |= dict.fromkeys(span, "")
            cells[change.start] = change.inserted
    whole = "".join(cells[place] + behind[place] for place in cells)
    return whole.split("*")[0]


def test_random_variants_do_what_the_naive_twin_does():
    rng = random.Random(5)
    kinds = [Kind.SUBSTITUTION, Kind.SYNONYMOUS, Kind.DELETION, Kind.INSERTION, Kind.DELINS]
    for number in range(2000):
        sequence = "".join(rng.choice(RESIDUES) for _ in range(rng.randint(20, 60)))
        changes, place = [], rng.randint(2, 6)
        while place + 5 < len(sequence) and len(changes) < 5:
            kind = rng.choice([*kinds, Kind.DUPLICATION, Kind.STOP])
            single = kind in (Kind.SUBSTITUTION, Kind.SYNONYMOUS, Kind.STOP)
            end = place + (0 if single else 1 if kind is Kind.INSERTION else rng.randint(0, 3))
            new = {Kind.STOP: "*", Kind.SUBSTITUTION: rng.choice(RESIDUES)}.get(kind, "")
            if kind in (Kind.INSERTION, Kind.DELINS):
                new = "".join(rng.choice(RESIDUES) for _ in range(rng.randint(2, 4)))
            first, last = sequence[place - 1], sequence[end - 1]
            if new != first:
                changes.append(Change(kind, place, end, first, last, new))
            if kind is Kind.STOP:
                break
            place = end + rng.randint(1, 5)
        variant = Variant(tuple(changes))
        expected = naive(sequence, variant)
        assert variant.apply(sequence) == expected, (number, sequence, str(variant))
        assert parse_variant(variant.hgvs()).apply(sequence) == expected


def test_the_nearest_offset_makes_every_site_fit():
    changes = parse_variant("A5G:C7W").changes
    assert nearest_offset(changes, "AACAACACAAC") == 1
    assert nearest_offset(changes, "AACAACACAAC", offset=1) == 4
    assert nearest_offset(changes, "AACAACACAAC", offset=-9) == -4
    assert nearest_offset(parse_variant("C5G").changes, "AACAAAC") == -2
    assert nearest_offset(parse_variant("C1G").changes, "AACAAAC", offset=-4) == -2
    assert nearest_offset(changes, "AAAA") is None
    assert nearest_offset((), "AAAA") is None


def test_the_offset_of_a_list_is_the_one_that_fits_most():
    rng = random.Random(2)
    sequence = "".join(rng.choice(RESIDUES) for _ in range(200))
    texts = [f"{sequence[place]}{place + 18}P" for place in range(0, 200, 7)]
    texts += ["A1C", "W500C", "WT"]
    lists = [parse_variant(text).changes for text in texts if not text.startswith("P")]
    good = sum(sequence[place] != "P" for place in range(0, 200, 7))
    found = best_offset(lists, sequence)
    assert (found.offset, found.total) == (17, good + 2)
    assert found.fits >= good
    assert best_offset([parse_variant("WT").changes], sequence) is None
    assert best_offset([parse_variant("U4C").changes], sequence) is None
    assert best_offset([parse_variant("A1C").changes], "AAA", offset=-1) == OffsetFit(-1, 1, 1)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("MAKQVLE", "MAKQVLE", "WT"),
        ("MAKQVLE", "MGKQVLD", "A2G:E7D"),
        ("MAAAK", "MAAK", "A4del"),
        ("MAKQVLE", "MLE", "A2_V5del"),
        ("MAKQVLE", "MAKQRSVLE", "Q4_V5insRS"),
        ("MAKQVLE", "MAKQKQVLE", "K3_Q4dup"),
        ("MAAAK", "MAAAAK", "A4dup"),
        ("MAKQVLE", "MAWWWVLE", "K3_Q4delinsWWW"),
        ("MAKQ", "GMAKQ", "M1delinsGM"),
        ("MAKQ", "MAKQGR", "Q4delinsQGR"),
        ("MAKQVLEWGHTRNDC", "MKQVLEWGHTRNDRC", "A2del:D14_C15insR"),
        ("MAKQVLEWGHTRNDC", "MAKVLEPGHTRRNDC", "Q4del:W8P:R12dup"),
        ("MACDEFGHIK", "MFGHIKLMNK", "A2F:C3G:D4H:E5I:F6K:G7L:H8M:I9N"),
        ("MACDEFGHIKLMNPQR", "MEFGHIKLMNPQRAC", "A2_D4del:R16delinsRAC"),
    ],
)
def test_the_variant_between_two_sequences(old, new, text):
    assert str(variant_between(old, new)) == text
    assert parse_variant(text).apply(old) == new


def test_no_sequence_is_compared_with_nothing():
    with pytest.raises(ValueError, match="need residues"):
        variant_between("", "MA")


def mutated_at_random(rng, letters):
    old = "".join(rng.choice(letters) for _ in range(rng.randint(1, 30)))
    new = list(old)
    for _ in range(rng.randint(0, 5)):
        place, size = rng.randrange(len(new) + 1), rng.randint(1, 4)
        put = [rng.choice(letters) for _ in range(size)]
        new[place : place + rng.choice([0, 1, size])] = put[: rng.choice([0, size])]
    return old, "".join(new) or "W"


def test_the_variant_between_random_sequences_makes_one_of_the_other():
    rng = random.Random(8)
    for number in range(1500):
        old, new = mutated_at_random(rng, RESIDUES if number % 2 else "AC")
        variant = variant_between(old, new)
        assert variant.apply(old) == new
        assert read_variant(str(variant)) == variant


def cost_of(variant, old):
    """Exchanges cost 1, gaps 2 and 1 a residue; of what a delins shares at its ends nothing."""
    total = 0
    for change in variant.changes:
        lost = old[change.start - 1 : change.end]
        put = change.inserted
        if change.kind is Kind.DUPLICATION:
            lost, put = "", lost
        elif change.kind is Kind.INSERTION:
            lost = ""
        while lost and put and lost[0] == put[0]:
            lost, put = lost[1:], put[1:]
        while lost and put and lost[-1] == put[-1]:
            lost, put = lost[:-1], put[:-1]
        gap = abs(len(lost) - len(put))
        total += min(len(lost), len(put)) + (2 + gap if gap else 0)
    return total


def least_cost(old, new):
    """Cost of the cheapest alignment, by trying all of them."""

    @cache
    def least(i, j, state):
        if i == len(old) and j == len(new):
            return 0
        ways = []
        if i < len(old) and j < len(new):
            ways.append((old[i] != new[j]) + least(i + 1, j + 1, ""))
        if i < len(old):
            ways.append((1 if state == "lost" else 3) + least(i + 1, j, "lost"))
        if j < len(new):
            ways.append((1 if state == "put" else 3) + least(i, j + 1, "put"))
        return min(ways)

    return least(0, 0, "")


def test_the_variant_between_two_sequences_is_as_cheap_as_any():
    rng = random.Random(4)
    for number in range(400):
        old, new = mutated_at_random(rng, RESIDUES if number % 2 else "ACDE")
        first = next(
            (i for i, (a, b) in enumerate(zip(old, new)) if a != b), min(len(old), len(new))
        )
        last = 0
        while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
            last += 1
        least = least_cost(old[first : len(old) - last], new[first : len(new) - last])
        assert cost_of(variant_between(old, new), old) <= least, (old, new)


def test_long_sequences_that_differ_everywhere_are_compared_in_place():
    rng = random.Random(9)
    old = "".join(rng.choice(RESIDUES) for _ in range(2000))
    new = "".join(rng.choice(RESIDUES) for _ in range(2000))
    variant = variant_between(old, new)
    assert variant.only_substitutions
    assert variant.apply(old) == new
    assert variant_between(old, new + "W").apply(old) == new + "W"

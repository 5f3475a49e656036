"""The k-mer encoder against plain loops over strings, and what may never reach it."""

from __future__ import annotations

import hashlib
import json
import math
import random

import numpy as np
import pytest
import torch

from protclip_core.encoders.alphabet import MASK, TOKENS, encode
from protclip_core.encoders.kmer import KmerEncoder, PackedConv, kmer_rows
from protclip_core.encoders.kmer_config import ALPHABETS, KmerConfig, KmerTable, token_groups
from protclip_core.encoders.kmer_start import start_alike, start_values
from protclip_core.encoders.packing import pack, pack_sequences, pool
from protclip_core.encoders.residue_space import residue_vectors
from protclip_core.models.loading import load_model
from tests.unit.models.kmers import SMALL, TABLES, VARIANTS, each_variant, encoder_of, proteins


def masked(sequences, *, seed=0, share=0.2):
    """Token rows with masks, and where they are in the packed batch."""
    rng = np.random.default_rng(seed)
    rows = [encode(sequence) for sequence in sequences]
    for row in rows:
        row[1:-1][rng.random(len(row) - 2) < share] = MASK
    return pack(rows)


def naive_row(table, tokens, place):
    """Row of the k-mer around ``tokens[place]``, tokens being those of one protein."""
    begin = place - (len(table.pattern) - 1) // 2
    window = range(begin, begin + len(table.pattern))
    if window[0] < 1 or window[-1] > len(tokens) - 2:
        return table.num_rows
    kept = [tokens[i] for i, letter in zip(window, table.pattern, strict=True) if letter == "1"]
    if MASK in kept:
        return table.num_rows + 1
    groups = ALPHABETS.get(table.alphabet, table.alphabet).split()
    code = 0
    for token in kept:
        letter = {"U": "C", "O": "K"}.get(TOKENS[token], TOKENS[token])
        options = {"B": "DN", "Z": "EQ"}.get(letter, letter)
        homes = {i for i, group in enumerate(groups) for o in options if o in group}
        if len(homes) != 1:
            return table.num_rows + 2
        code = code * len(groups) + homes.pop()
    if table.rows is not None:
        code = (code % (2**31 - 1) * 2654435761 >> 7) % table.rows
    return code


def naive_conv(rows, weight, bias, dilation):
    """Plain loops over positions and places of the kernel; ``rows`` of one protein."""
    found = []
    for i in range(len(rows)):
        total = bias.clone()
        for place in range(weight.shape[2]):
            j = i + (place - weight.shape[2] // 2) * dilation
            if 0 <= j < len(rows):
                total = total + weight[:, :, place] @ rows[j]
        found.append(total)
    return torch.stack(found)


def naive_forward(module, tokens):
    """All layers of one protein, ``{layer: (L + 2, D)}``."""
    config, gelu = module.config, torch.nn.functional.gelu
    inputs = []
    for number, (table, weight) in enumerate(zip(config.tables, module.tables, strict=True)):
        rows = [naive_row(table, tokens, i) for i in range(len(tokens))]
        vectors = torch.stack([weight.weight[row] for row in rows])
        if config.gate:
            logs = torch.stack([module.gates[number].weight[row, 0] for row in rows])
            gates = torch.exp(logs.clamp(-3, 3))
            vectors = vectors * (gates / gates[1:-1].mean()).unsqueeze(1)
        inputs.append(vectors)
    for shape, conv in zip(config.windows, module.windows, strict=True):
        places = torch.stack([module.residues[token] for token in tokens])
        mixed = naive_conv(places, conv.weight, conv.bias, 1)
        inputs.append(math.sqrt(0.5) * mixed.cos() if shape.activation == "cos" else gelu(mixed))
    base = sum(inputs) if config.combine == "sum" else torch.cat(inputs, 1)
    x = base if module.projection is None else module.projection(base)
    layers = [x]
    for number, block in enumerate(module.layers):
        dilation = config.dilations[number % len(config.dilations)]
        if config.block == "plain":
            h = gelu(block.norm(x))
        else:
            h = gelu(block.conv_norm(block.down(gelu(block.down_norm(x)))))
        h = naive_conv(h, block.conv.weight, block.conv.bias, dilation)
        x = x + block.up(gelu(h if config.block == "plain" else block.up_norm(h)))
        layers.append(x)
    if module.final_norm is not None:
        layers[-1] = module.final_norm(x)
    return {
        n: torch.cat([base, layer], 1) if config.keep_input else layer
        for n, layer in enumerate(layers)
    }


@pytest.mark.parametrize("text", [*TABLES, "7:20:8:9000", "9:20:4:64", "1011:8:4", "2:5:3"])
def test_rows_equal_a_loop_over_letters(text):
    table = KmerTable.parse(text)
    batch = masked([*proteins(60), "M", "MK", "X" * 9, "BZUOJ" * 4], share=0.1)
    (found,) = kmer_rows(batch, [table])
    expected = []
    for part in batch.tokens.split(batch.lengths):
        tokens = part.tolist()
        expected += [naive_row(table, tokens, i) for i in range(len(tokens))]
    assert found.tolist() == expected
    assert len(set(expected)) > 20


@each_variant
def test_what_it_can_read_has_a_row_of_its_own(name):
    config = encoder_of(name).config
    short = [*proteins(150, longest=9), "M", "MK", "XXXXXX", "MXKXT", "BZJ", "UUU"]
    for sequence in short:
        (tokens,) = masked([sequence], share=0).tokens.split(len(sequence) + 2)
        rows = [
            naive_row(table, tokens.tolist(), i) < table.num_rows
            for table in config.tables
            for i in range(1, len(sequence) + 1)
        ]
        known = any(rows) or (bool(config.windows) and set(sequence) != {"X"})
        assert config.can_read(sequence) == known, sequence
    assert config.windows or not all(map(config.can_read, short))


def test_proteins_it_cannot_read_have_one_vector_for_each_length():
    model = load_model(device="cpu")
    unread = [["M", "A", "W", "X"], ["AC", "GT", "XX"], ["AXA", "XXX", "CXW"]]
    for group in unread:
        assert not any(map(model.info.can_read, group))
        vectors = model.embed(group)
        assert np.array_equal(vectors, np.repeat(vectors[:1], len(group), axis=0))
    read = ["ACD", "GGG", "WWW", "ACXXD"]
    assert all(map(model.info.can_read, read))
    assert len(np.unique(model.embed(read).round(4), axis=0)) == len(read)


def test_each_kmer_has_a_row_of_its_own():
    table = KmerTable.parse("101:6:4")
    letters = [group[0] for group in table.groups]
    words = [a + "W" + b for a in letters for b in letters]
    (rows,) = kmer_rows(pack_sequences(words), [table])
    assert sorted(rows[2::5].tolist()) == list(range(36))


def test_alphabets_are_part_of_the_format():
    content = json.dumps(ALPHABETS, sort_keys=True).encode()
    assert hashlib.sha256(content).hexdigest().startswith("388461673131a815")
    for text in ALPHABETS:
        table = KmerTable.parse(f"1:{text}:1")
        assert len(table.groups) == int(text)
        groups = token_groups(table)
        assert [t for t, g in zip(TOKENS, groups, strict=True) if g == int(text)][:4] == [
            "<cls>", "<pad>", "<eos>", "<unk>",
        ]  # fmt: skip
    six = dict(zip(TOKENS, token_groups(KmerTable.parse("1:6:1")), strict=True))
    assert (six["U"], six["O"], six["B"], six["Z"], six["X"]) == (0, 5, 3, 3, 6)
    twenty = dict(zip(TOKENS, token_groups(KmerTable.parse("1:20:1")), strict=True))
    assert (twenty["L"], twenty["C"], twenty["B"], twenty["Z"]) == (0, 19, 20, 20)


@each_variant
def test_every_layer_equals_plain_loops(name):
    module = encoder_of(name)
    batch = masked([*proteins(12, seed=1), "M", "MK"])
    last = module.config.num_layers
    with torch.no_grad():
        found = module(batch, range(last + 1))
        assert set(found) == set(range(last + 1))
        offset = 0
        for part in batch.tokens.split(batch.lengths):
            for layer, expected in naive_forward(module, part.tolist()).items():
                own = found[layer][offset : offset + len(part)]
                assert own.shape == (len(part), module.config.hidden_dim)
                torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-5)
            offset += len(part)
        for layer in range(last + 1):
            torch.testing.assert_close(module(batch, [layer])[layer], found[layer])
        assert torch.equal(module(batch)[last], found[last])


@each_variant
def test_nothing_of_a_masked_residue_reaches_the_encoder(name):
    module = encoder_of(name, seed=2)
    rng = random.Random(3)
    for _ in range(20):
        text = proteins(1, seed=rng.random(), longest=60)[0]
        place = rng.randrange(len(text))
        outputs = []
        for residue in "AWKX":
            row = encode(text[:place] + residue + text[place + 1 :])
            row[1 + place] = MASK
            with torch.no_grad():
                outputs.append(module(pack([row, encode("MKT")])))
        for other in outputs[1:]:
            for layer, value in other.items():
                assert torch.equal(value, outputs[0][layer])


def test_without_its_mask_a_residue_does_reach_its_neighbours():
    module = encoder_of()
    a, b = (module(pack_sequences([f"MKTAYIAKQ{c}QISFVKSHF"]))[3] for c in "RW")
    assert bool(((a - b).abs().sum(1) > 1e-3)[5:16].all())


@pytest.mark.full(but="bottleneck")
@each_variant
def test_200_random_batches_change_no_protein(name):
    module = encoder_of(name, seed=4)
    rng = random.Random(5)
    texts = proteins(40, seed=6)
    last = module.config.num_layers
    with torch.no_grad():
        alone = [module(pack_sequences([text]))[last] for text in texts]
        worst = 0.0
        for _ in range(200):
            chosen = [rng.randrange(40) for _ in range(rng.randint(2, 6))]
            batch = pack_sequences([texts[i] for i in chosen])
            together = module(batch)[last].split(batch.lengths)
            for i, rows in zip(chosen, together, strict=True):
                worst = max(worst, float(((rows - alone[i]).abs() / (1 + alone[i].abs())).max()))
    assert worst < 2e-6


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "gated"])
def test_the_reach_is_as_told(name):
    module = encoder_of(name, seed=7).double()
    reach = module.config.reach
    text = "ACDEFGHIKLMNPQRSTVWY" * 4
    place = 40
    changed = text[:place] + ("W" if text[place] != "W" else "A") + text[place + 1 :]
    with torch.no_grad():
        a, b = (module(pack_sequences([t]))[module.config.num_layers] for t in (text, changed))
    touched = (torch.nonzero((a - b).abs().sum(1) > 0).flatten() - 1 - place).tolist()
    assert max(-touched[0], touched[-1]) == reach


@each_variant
def test_gradients_reach_every_part(name):
    module = encoder_of(name).train()
    batch = masked(proteins(60, seed=8))
    hidden = module(batch)[module.config.num_layers]
    targets = batch.tokens
    loss = torch.nn.functional.cross_entropy(module.logits(hidden), targets)
    (loss + pool(hidden, batch, "residues").square().mean()).backward()
    for parameter_name, parameter in module.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert float(parameter.grad.abs().max()) > 0, parameter_name


def test_gradients_of_the_convolution_are_those_of_finite_differences():
    torch.manual_seed(0)
    conv = PackedConv(2, 3, 3, 2).double()
    batch = pack_sequences(["MK", "M", "MKTA"])
    x = torch.randn(batch.tokens.shape[0], 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: conv(x, batch), (x, conv.weight, conv.bias))


def test_sparse_gradients_equal_dense_ones():
    batch = pack_sequences(proteins(5))
    grads = []
    for sparse in (False, True):
        module = KmerEncoder(KmerConfig.from_dict(SMALL), sparse=sparse)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for parameter in module.parameters():
                torch.nn.init.normal_(parameter)
        module(batch)[3].square().sum().backward()
        grad = module.tables[0].weight.grad
        assert grad.is_sparse is sparse
        grads.append(grad.to_dense() if sparse else grad)
    torch.testing.assert_close(*grads)


def test_table_dropout_is_for_training_and_keeps_the_mean():
    torch.manual_seed(0)
    module = KmerEncoder(KmerConfig.from_dict(VARIANTS["no layers"] | {"table_dropout": 0.4}))
    for table in module.tables:
        torch.nn.init.ones_(table.weight)
    batch = pack_sequences(["ACDEFGHIKL" * 50])
    assert bool((module.eval()(batch)[0] == 1).all())
    drawn = module.train()(batch)[0].detach()
    # A table's vector is there or not as a whole.
    assert sorted(set(drawn.flatten().tolist())) == pytest.approx([0.0, 1 / 0.6])
    assert all(len(set(row.tolist())) == 1 for part in drawn.split(8, dim=1) for row in part)
    assert float((drawn == 0).float().mean()) == pytest.approx(0.4, abs=0.05)


@each_variant
def test_logits_have_a_column_for_each_token(name):
    module = encoder_of(name)
    batch = pack_sequences(["MKT", "AC"])
    hidden = module(batch)[module.config.num_layers]
    found = module.logits(hidden)
    assert found.shape == (9, 33)
    stream = hidden[:, 48:] if name == "behind" else hidden
    head = module.lm_head
    inner = head.norm(torch.nn.functional.gelu(head.dense(stream)))
    torch.testing.assert_close(found, inner @ head.output.weight.T + head.output.bias)
    with pytest.raises(ValueError, match="no masked-LM head"):
        encoder_of(name, lm_head=False).logits(hidden)


def test_a_batch_of_nothing_gives_nothing():
    for name in VARIANTS:
        module = encoder_of(name)
        last = module.config.num_layers
        assert module(pack([]))[last].shape == (0, module.config.hidden_dim)
        assert bool(torch.isfinite(module(pack_sequences([""]))[last]).all())


def test_alike_kmers_start_alike():
    """The product of two rows approaches the Gaussian kernel of the distance of the k-mers."""
    table = KmerTable.parse("2:20:20000")
    values = start_values(table, np.random.default_rng(0), bandwidth=0.7)
    assert values.shape == (403, 20000)
    assert not values[400:].any()
    places = residue_vectors()
    letters = ALPHABETS["20"].split()
    points = np.stack(
        [np.r_[places[TOKENS.index(a)], places[TOKENS.index(b)]] for a in letters for b in letters]
    )
    distance = ((points[:, None] - points[None]) ** 2).sum(-1)
    kernel = np.exp(-0.5 * 0.7**2 * distance)
    kernel -= kernel.mean(0)
    kernel -= kernel.mean(1, keepdims=True)
    found = values[:400] @ values[:400].T / (20000 * 0.25)
    assert np.abs(found - kernel).max() < 0.05
    assert np.square(places).sum(1)[4:24].mean() == pytest.approx(1, abs=1e-6)
    assert not places[[0, 1, 2, 3, 24, MASK]].any()

    with pytest.raises(ValueError, match="no k-mer of its own"):
        start_values(KmerTable.parse("2:20:4:100"), np.random.default_rng(0))
    module = KmerEncoder(KmerConfig.from_dict(SMALL))
    before = module.tables[1].weight.detach().clone()
    start_alike(module, seed=3)
    assert torch.equal(module.tables[1].weight[:500], before[:500])
    rows = module.tables[0].weight.detach()
    assert abs(float(rows.std()) - 0.45) < 0.1
    codes, _ = kmer_rows(pack_sequences(["AIA", "AVA", "APA"]), module.config.tables[:2])
    isoleucine, valine, proline = rows[codes[2::5]]
    assert (isoleucine - valine).norm() < (isoleucine - proline).norm()

"""Train the text tower by itself, before the protein tower is trained against it.

    python -m train.pretrain_text --config train/configs/text/mini.toml \
        --data uniprot_pairs.jsonl.gz --go go_terms.tsv.gz --run-dir runs/text [--resume]

Four things at once: masked words; a term's name against its definition, and one selection of a
protein's properties against another (symmetric contrast); and the place of each text in the space
of `train.data.term_space` (cosine, and contrast against other terms). At its end the run folder
holds ``bundle``: text encoder, projection and tokenizer, for ``[text] weights`` of a pre-training.

The run folder holds what that of `train.pretrain` holds: ``metrics.jsonl``, ``curve.png``, the two
newest checkpoints. ``--resume`` goes on exactly where the newest whole one stands. One process, on
the CPU or one device: a text tower is small.

Exit codes: those of `train.pretrain`.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from protclip_core.engines.memory import keep_freed_memory
from protclip_core.errors import InputError, UsageError
from protclip_core.io.atomic import file_lock, write_atomic
from protclip_core.weights.bundle import write_bundle
from train.config.text import TextRunConfig, load_text_config
from train.data.composer import TextComposer
from train.data.go_terms import GoTerms
from train.data.pairs import MemoryPairs, ShardPairs, open_pairs
from train.data.term_space import protein_targets
from train.data.text_views import TextViews, Views
from train.data.texts import SPECIAL_TOKENS, Part, train_tokenizer
from train.loop import checkpoint
from train.loop.curves import draw
from train.loop.optim import Progress, learning_rate, set_learning_rate, share_done
from train.loop.ranks import Ranks
from train.loop.run_log import Reporter
from train.loop.setup import CONFIG, TOKENIZER, open_tokenizer
from train.loop.terminal import SIGNALS, Lines, Stopped, guarded
from train.objectives.gc import contrastive_loss
from train.towers.text_tower import Masking, TextTower, encode_rows, start_words
from train.towers.two_towers import bert_fields

__all__ = ["main", "train_text"]

_log = logging.getLogger("train.pretrain_text")
#: Terms against which a text's place is contrasted, beside those of the batch.
_OTHERS = 2_048
_NOISE, _EVALUATION = 8, 9


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, train, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m train.pretrain_text",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, type=Path, help="TOML file of the run")
    parser.add_argument("--run-dir", required=True, type=Path, help="directory of the run")
    parser.add_argument("--data", required=True, type=Path, help="pairs: JSON Lines or ProtAnno")
    parser.add_argument("--go", required=True, type=Path, help="table of GO terms")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default 1)")
    parser.add_argument("--stop-at", type=int, help="stop after this step as if interrupted")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    for name in ("train", "protclip_core"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [Lines()], False
        logger.setLevel(logging.INFO)

    def work() -> int:
        config = load_text_config(args.config)
        train_text(
            config,
            run_dir=args.run_dir,
            data_path=args.data,
            go_path=args.go,
            resume=args.resume,
            stop_at=args.stop_at,
        )
        return 0

    return guarded(work, kept="the newest checkpoint is kept, go on with --resume")


def train_text(
    config: TextRunConfig,
    *,
    run_dir: Path,
    data_path: Path,
    go_path: Path,
    resume: bool = False,
    stop_at: int | None = None,
) -> TextTower:
    """Run or resume the training of a text tower, and write its bundle.

    Raises
    ------
    ProtclipError
        Whatever ends a run early.
    """
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(run_dir):
        torch.manual_seed(config.train.seed)
        run = _Run(config, run_dir, data_path, go_path, resume=resume)
        with SIGNALS:
            run.go(stop_at)
        return run.tower


class _Run:
    """The loop of a run, and what comes between its steps."""

    def __init__(
        self, config: TextRunConfig, run_dir: Path, data_path: Path, go_path: Path, *, resume: bool
    ) -> None:
        self.config, self.run_dir = config, run_dir
        self.ranks = Ranks(0, 1, torch.device("cpu"), 60.0)
        _prepare_folder(config, run_dir, resume=resume)
        terms = GoTerms(go_path)
        self.tokenizer = _tokenizer(config, run_dir, data_path, terms)
        text = config.text
        assert text.max_tokens is not None
        composer = TextComposer(self.tokenizer, text.max_tokens, tag_dropout=0.5)
        self.pad = composer.pad
        pairs = self._open(data_path, config.train_split, terms)
        self.views = TextViews(terms, pairs, composer, config.projection_dim, config.train.seed)
        self.tower = _make_tower(config, self.tokenizer.get_vocab_size())
        if not resume:
            start_words(self.tower, self.views.documents(), config.train.seed)
        self.optimizer = _optimizer(self.tower, config)
        self.progress = Progress()
        if resume:
            found = checkpoint.find(run_dir)
            self.progress = checkpoint.restore(found, self.tower, self.optimizer, self.ranks)
        self._space = torch.from_numpy(self.views.space)
        self._targets = torch.from_numpy(self.views.targets)
        self._held_out(self._open(data_path, config.valid_split, terms), composer)
        size = sum(p.numel() for p in self.tower.parameters())
        _log.info("%s: %s parameters, from step %d", config.name, f"{size:,}", self.progress.step)

    def _open(self, path: Path, split: str, terms: GoTerms) -> MemoryPairs | ShardPairs:
        return open_pairs(path, split, self.config.pairs(), self.tokenizer, terms, self.run_dir)

    def _held_out(self, pairs: MemoryPairs | ShardPairs, composer: TextComposer) -> None:
        """Choose what evaluation looks at: common terms, and proteins of the other split."""
        rng = np.random.default_rng((self.config.train.seed, _EVALUATION))
        wanted = self.config.train.evaluate_pairs
        self._terms = np.sort(rng.permutation(self.views.common)[:wanted])
        annotated = [row for row in range(len(pairs)) if len(pairs.go(row))]
        rows = np.sort(rng.permutation(annotated)[:wanted]).astype(int).tolist()
        # Without the names of its GO terms a text says where they lie, but not by quoting them.
        plain = TextComposer(self.tokenizer, composer.max_tokens, max_go_names=0)
        told = [(row, [p for p in pairs.parts(row) if p[0] != "GENE ONTOLOGY"]) for row in rows]
        told = [(row, parts) for row, parts in told if parts]
        self._proteins = [plain.whole(parts) for _, parts in told]
        own = [pairs.go(row) for row, _ in told]
        found = protein_targets(self.views.space, own, self.views.specificity)
        self._protein_targets = torch.from_numpy(found)

    def go(self, stop_at: int | None) -> None:
        """Make steps until the run is done, or has to stop; then write the bundle."""
        progress, settings = self.progress, self.config.train
        reporter = Reporter(
            self.run_dir, progress.step, active=True, tensorboard=settings.tensorboard
        )
        started = saved = time.monotonic()
        before = progress.seconds
        try:
            while share_done(progress, settings) < 1 and progress.step != stop_at:
                row = self.step()
                now = time.monotonic()
                progress.seconds = before + now - started
                done = share_done(progress, settings)
                reporter.step(row, done)
                if progress.step % settings.evaluate_every == 0 or done == 1:
                    reporter.evaluation(progress.step, self.evaluate())
                if now - saved >= settings.checkpoint_seconds:
                    self.save()
                    saved = now
                if SIGNALS.asked:
                    break
            self.save()
        finally:
            reporter.close()
        draw([self.run_dir], self.run_dir / "curve.png")
        if SIGNALS.asked:
            raise Stopped(SIGNALS.asked)
        self.export()

    def save(self) -> None:
        """Write a checkpoint."""
        checkpoint.save(self.run_dir, self.tower, self.optimizer, self.progress, self.ranks)

    def step(self) -> dict[str, float]:
        """Make one step and return its line of metrics."""
        started = time.monotonic()
        settings, on, step = self.config.train, self.config.objectives, self.progress.step
        rate = learning_rate(self.progress, settings)
        set_learning_rate(self.optimizer, rate)
        self.tower.train()
        views = self.views.draw(step, on.terms, on.wordings, on.proteins, on.max_tokens)
        seed = int(np.random.SeedSequence((settings.seed, _NOISE, step)).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        masking = Masking(
            SPECIAL_TOKENS.index("[MASK]"),
            on.mask_share,
            on.masked_texts,
            len(SPECIAL_TOKENS),
            generator,
        )
        vectors, hidden = encode_rows(self.tower, views.rows, self.pad, masking=masking)
        losses = {
            "words": self._words(hidden),
            "wording": self._wording(vectors, views),
            "place": self._place(vectors, views, generator),
        }
        loss = sum((getattr(on, name) * value for name, value in losses.items()), torch.zeros(()))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self.tower.parameters(), settings.clip_norm))
        if not math.isfinite(float(loss.detach())) or not math.isfinite(norm):
            raise InputError(
                f"loss is {float(loss.detach())}, gradient norm {norm} at step {step + 1}",
                where=str(self.run_dir),
                hint="lower learning_rate; --resume begins before it",
            )
        self.optimizer.step()
        self.progress.step += 1
        tokens = sum(map(len, views.rows))
        return {
            "step": self.progress.step,
            "loss": float(loss.detach()),
            **{name: float(value.detach()) for name, value in losses.items()},
            "lr": rate,
            "grad_norm": norm,
            "tokens_per_s": round(tokens / (time.monotonic() - started), 1),
        }

    def _words(self, hidden: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Cross-entropy of the hidden words, in nats."""
        vectors, ids = (torch.cat(parts) for parts in zip(*hidden))
        if not len(ids):
            return vectors.sum() * 0
        return F.cross_entropy(self.tower.words(vectors), ids)

    def _wording(self, vectors: Tensor, views: Views) -> Tensor:
        """Contrast of both wordings, of terms and of proteins; equal texts are no negatives."""
        scale, total, done = self.tower.pair_scale.exp(), vectors.new_zeros(()), 0
        again, own = len(views.terms), len(views.terms) + len(views.again)
        other = own + len(views.proteins)
        wordings = [
            (views.again, np.arange(again, own)),
            (np.arange(own, other), np.arange(other, len(views.rows))),
        ]
        for first, second in wordings:
            if len(first) > 1:
                keys = torch.tensor([hash(tuple(views.rows[place])) for place in second])
                total = total + contrastive_loss(
                    vectors[torch.from_numpy(first)],
                    vectors[torch.from_numpy(second)],
                    scale=scale,
                    same_text=keys.unsqueeze(1) == keys,
                )
                done += 1
        return total / max(done, 1)

    def _place(self, vectors: Tensor, views: Views, generator: torch.Generator) -> Tensor:
        """Where texts lie, against where they should: cosine, and contrast with other terms."""
        terms = torch.from_numpy(views.terms)
        told = torch.cat([terms, terms[torch.from_numpy(views.again)]])
        own = self._targets[torch.from_numpy(views.proteins)]
        aims = torch.cat([self._space[told], own, own])
        known = aims.norm(dim=1) > 0.5
        cosine = (1 - (vectors * aims).sum(dim=1))[known].mean()
        common = self.views.common
        drawn = torch.randint(len(common), (min(_OTHERS, len(common)),), generator=generator)
        others = torch.from_numpy(common)[drawn]
        candidates = torch.cat([terms, others])
        logits = self.tower.place_scale.exp() * vectors[: len(told)] @ self._space[candidates].T
        right = torch.cat([torch.arange(len(terms)), torch.from_numpy(views.again)])
        twice = candidates.unsqueeze(0) == told.unsqueeze(1)
        twice[torch.arange(len(told)), right] = False
        contrast = F.cross_entropy(logits.masked_fill(twice, -1e4), right)
        found: Tensor = cosine + self.config.objectives.place_contrast * contrast
        return found

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Cosine to the space, of terms and of held-out proteins; a name's own definition first."""
        self.tower.eval()
        texts, terms = self.views, self._terms.tolist()

        def vectors(rows: list[list[int]]) -> Tensor:
            parts = [
                encode_rows(self.tower, rows[first : first + 256], self.pad)[0]
                for first in range(0, len(rows), 256)
            ]
            return torch.cat(parts)

        names = vectors([texts.name(term) for term in terms])
        both = vectors([texts.both(term) for term in terms])
        aims = self._space[torch.from_numpy(self._terms)]
        joined = F.normalize(names + both, dim=-1)
        found = {
            "cosine_name": float((names * aims).sum(dim=1).mean()),
            "cosine_both": float((joined * aims).sum(dim=1).mean()),
        }
        defined = [place for place, term in enumerate(terms) if texts.definitions[term]]
        if defined:
            told = vectors([texts.texts.framed(texts.definitions[terms[p]]) for p in defined])
            first = (names[defined] @ told.T).argmax(dim=1)
            found["definition_r1"] = float((first == torch.arange(len(defined))).float().mean())
        if self._proteins:
            proteins = vectors(self._proteins)
            found["cosine_proteins"] = float((proteins * self._protein_targets).sum(dim=1).mean())
        return found

    def export(self) -> None:
        """Write the bundle of text encoder, projection and tokenizer."""
        limit = self.config.text.max_tokens
        content = {
            "format": "protclip-bundle",
            "format_version": 1,
            "name": self.config.name,
            "license": "Apache-2.0",
            "projection_dim": self.config.projection_dim,
            "projection": self.config.form().to_dict(),
            "text_encoder": {
                "type": "bert",
                "max_tokens": limit,
                **bert_fields(self.tower.text_encoder.config),
            },
        }
        files = {TOKENIZER: (self.run_dir / TOKENIZER).read_bytes()}
        bundle = write_bundle(self.run_dir / "bundle", content, self.tower.bundle_tensors(), files)
        _log.info("%s: weights sha256 %s", bundle.path, bundle.weights_sha256)


def _make_tower(config: TextRunConfig, vocab_size: int) -> TextTower:
    text = config.text
    assert text.hidden_dim
    assert text.num_layers
    assert text.num_heads
    assert text.max_tokens
    return TextTower(
        vocab_size=vocab_size,
        hidden_dim=text.hidden_dim,
        num_layers=text.num_layers,
        num_heads=text.num_heads,
        max_tokens=text.max_tokens,
        projection_dim=config.projection_dim,
        form=config.form(),
    )


def _optimizer(tower: TextTower, config: TextRunConfig) -> torch.optim.AdamW:
    """AdamW; word vectors learn faster and do not decay, nor do biases, norms and scales."""
    settings = config.train
    words = tower.text_encoder.get_input_embeddings().weight
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for parameter in tower.parameters():
        own = parameter is words
        decay = settings.weight_decay if parameter.ndim > 1 and not own else 0.0
        share = config.objectives.word_rate if own else 1.0
        groups.setdefault((share, decay), []).append(parameter)
    listed = [
        {"params": parameters, "weight_decay": decay, "share": share}
        for (share, decay), parameters in groups.items()
    ]
    first, second = settings.betas
    return torch.optim.AdamW(listed, lr=settings.learning_rate, betas=(first, second), fused=True)


def _prepare_folder(config: TextRunConfig, run_dir: Path, *, resume: bool) -> None:
    saved = run_dir / CONFIG
    content = json.dumps(asdict(config), indent=2) + "\n"
    if not resume and saved.exists():
        raise UsageError("holds a run already", where=str(run_dir), hint="add --resume")
    if resume and saved.exists() and saved.read_text(encoding="utf-8") != content:
        _log.warning("resumed with other settings than the run began with")
    run_dir.mkdir(parents=True, exist_ok=True)
    write_atomic(saved, content.encode())


def _tokenizer(config: TextRunConfig, run_dir: Path, data_path: Path, terms: GoTerms) -> Tokenizer:
    """Open the tokenizer of the run, or train one on its texts and those of GO."""
    path = run_dir / TOKENIZER
    if not path.exists():
        if config.text.tokenizer is not None:
            write_atomic(path, Path(config.text.tokenizer).read_bytes())
        else:
            pairs = open_pairs(data_path, config.train_split, config.pairs(), None, terms, run_dir)
            told = [
                (Part("GENE ONTOLOGY", (name, text) if text else (name,)),)
                for name, text in zip(terms.names, terms.definitions)
            ]
            corpus = [*pairs.texts(), *told]
            write_atomic(path, train_tokenizer(corpus, config.text.vocab_size).to_str().encode())
    return open_tokenizer(run_dir)


if __name__ == "__main__":
    sys.exit(main())

"""Train the text tower by itself, before the protein tower is trained against it.

    python -m train.pretrain_text --config train/configs/text/mini.toml \
        --data uniprot_pairs.jsonl.gz --go go_terms.tsv.gz --run-dir runs/text [--resume]

Four things at once: masked words; a term's name against its definition, and one selection of a
protein's properties against another (symmetric contrast); and the place of each text in the space
of `train.data.term_space` (cosine, and contrast against other terms). At its end the run folder
holds ``bundle``: text encoder, projection and tokenizer, for ``[text] weights`` of a pre-training.

The run folder, ``--resume`` and the exit codes are as in `train.pretrain`. One process, on the CPU:
a text tower is small.
"""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from protclip_core.io.atomic import file_lock
from protclip_core.weights.bundle import write_bundle
from train.config.text import TextRunConfig, load_text_config
from train.data.go_terms import GoTerms
from train.data.texts import SPECIAL_TOKENS
from train.loop.optim import make_text_optimizer
from train.loop.prepare_texts import prepare_texts
from train.loop.program import KEPT, run_parser
from train.loop.ranks import Ranks
from train.loop.run_folder import TOKENIZER, prepare_folder, read_json
from train.loop.steps import Steps
from train.loop.terminal import guarded, start_program
from train.loop.wordings import card_section
from train.objectives.text_tower import PlaceLoss, wording_loss, words_loss
from train.towers.text_tower import Masking, TextTower, encode_rows, start_words, tower_config

__all__ = ["main", "train_text"]

_log = logging.getLogger("train.pretrain_text")
_NOISE = 8


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, train, and return the exit code."""
    args = run_parser("train.pretrain_text", __doc__, data=True).parse_args(argv)
    start_program(args.threads)

    def work() -> None:
        paths = {"run_dir": args.run_dir, "data_path": args.data, "go_path": args.go}
        config = load_text_config(args.config)
        train_text(config, **paths, resume=args.resume, stop_at=args.stop_at)

    return guarded(work, kept=KEPT)


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
        prepare_folder(run_dir, asdict(config), read_json, resume=resume)
        run = TextTraining(config, run_dir, data_path, GoTerms(go_path), resume=resume)
        run.go(stop_at)
        run.export()
    return run.tower


class TextTraining(Steps):
    """The steps of a run."""

    def __init__(
        self, config: TextRunConfig, run_dir: Path, data_path: Path, terms: GoTerms, *, resume: bool
    ) -> None:
        self.config, width = config, config.projection_dim
        self.views, self.measure, words = prepare_texts(config, run_dir, data_path, terms)
        self.tower = TextTower(
            **config.text.shape, vocab_size=words, projection_dim=width, form=config.form()
        )
        if not resume:
            start_words(self.tower, self.views.documents(), config.train.seed)
        optimizer = make_text_optimizer(self.tower, config.train, config.objectives.word_rate)
        super().__init__(
            config.name, config.train, run_dir, self.tower, optimizer, Ranks.alone(), resume=resume
        )
        self.place = PlaceLoss(self.views, config.objectives.place_contrast)

    def step(self) -> dict[str, float]:
        """Make one step and return its line of metrics."""
        started, on, step = time.monotonic(), self.config.objectives, self.progress.step
        rate = self.set_rate()
        self.tower.train()
        views = self.views.draw(step, on.terms, on.wordings, on.proteins, on.max_tokens)
        sequence = np.random.SeedSequence((self.settings.seed, _NOISE, step))
        noise = torch.Generator().manual_seed(int(sequence.generate_state(1)[0]))
        mask, special = SPECIAL_TOKENS.index("[MASK]"), len(SPECIAL_TOKENS)
        masking = Masking(mask, on.mask_share, on.masked_texts, special, noise)
        vectors, hidden = encode_rows(self.tower, views.rows, self.views.texts.pad, masking=masking)
        losses = {
            "words": words_loss(self.tower, hidden),
            "wording": wording_loss(self.tower, vectors, views),
            "place": self.place(self.tower, vectors, views, noise),
        }
        loss = sum((getattr(on, name) * value for name, value in losses.items()), torch.zeros(()))
        loss.backward()
        norm = float(
            torch.nn.utils.clip_grad_norm_(self.tower.parameters(), self.settings.clip_norm)
        )
        found = {name: float(value.detach()) for name, value in {"loss": loss, **losses}.items()}
        means = self.means(found, norm)
        self.optimizer.step()
        self.progress.step += 1
        rated = round(sum(map(len, views.rows)) / (time.monotonic() - started), 1)
        tail = {"lr": rate, "grad_norm": norm, "tokens_per_s": rated}
        return {"step": self.progress.step, **means, **tail}

    def evaluate(self) -> dict[str, float]:
        """Measure the tower on common terms and held-out proteins."""
        return self.measure(self.tower)

    def export(self) -> None:
        """Write the bundle of text encoder, projection and tokenizer."""
        content = tower_config(self.tower, self.config.name, self.config.max_tokens)
        files = {TOKENIZER: (self.run_dir / TOKENIZER).read_bytes()}
        if section := card_section(self.run_dir):
            files["MODEL_CARD.md"] = f"# {self.config.name}\n\n{section}".encode()
        bundle = write_bundle(self.run_dir / "bundle", content, self.tower.bundle_tensors(), files)
        _log.info("%s: weights sha256 %s", bundle.path, bundle.weights_sha256)


if __name__ == "__main__":
    sys.exit(main())

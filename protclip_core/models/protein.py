"""A loaded model: sequences in, vectors out; long proteins in overlapping windows.

Legend: B proteins, L residues, T tokens, D encoder width, P joint width.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protclip_core.encoders.encoder import Embedded, Encoder
from protclip_core.encoders.packing import PackedTokens, pack, pool
from protclip_core.encoders.residue_heads import ResidueHeads
from protclip_core.encoders.windows import token_batches, window_starts
from protclip_core.errors import UsageError
from protclip_core.io.fasta import read_sequence
from protclip_core.models.info import DEFAULT_MODEL, ModelInfo, require_structure_encoder
from protclip_core.models.settings import EmbedSettings, resolve_settings

if TYPE_CHECKING:
    from protclip_core.io.structures.chain import Chain
    from protclip_core.models.structure import StructureModel

__all__ = [
    "DEFAULT_BATCH_TOKENS",
    "Embedded",
    "Encoder",
    "ProteinModel",
]

#: Tokens that go through the encoder together. A CPU gains nothing beyond this; a GPU is asked
#: for more by the engine.
DEFAULT_BATCH_TOKENS = 1024


class ProteinModel:
    """A protein encoder with, in a ProtCLIP model, the projection into the joint space.

    Get one from `load_model`. Its methods may be called from several threads at once.

    Parameters
    ----------
    info
        What the model is.
    encoder
        The protein encoder.
    weights_sha256
        Hash of the weights file.
    projection
        Into the joint space, if there is one.
    residue_heads
        Heads on residues, if there are any.
    make_structure_model
        Called once, for the first structure; ``None`` where there is no structure encoder.

    Examples
    --------
    >>> from protclip_core import load_model
    >>> model = load_model(device="cpu")
    >>> vectors = model.embed_proteins(["MKTAYIAKQR", "MSLLTEVETY"])
    >>> vectors.shape, round(float((vectors[0] ** 2).sum()), 3)
    ((2, 512), 1.0)
    """

    def __init__(
        self,
        info: ModelInfo,
        encoder: Encoder,
        weights_sha256: str,
        projection: nn.Module | None = None,
        residue_heads: ResidueHeads | None = None,
        *,
        make_structure_model: Callable[[], StructureModel] | None = None,
    ) -> None:
        self._make_structure_model = make_structure_model
        self._structure_model: StructureModel | None = None
        self._structure_lock = threading.Lock()
        self.info = info
        self.encoder = encoder
        self.weights_sha256 = weights_sha256
        self.residue_heads = residue_heads
        self._projection = projection
        form = info.projection
        self._reads_input = form is not None and form.protein_dim is not None

    @property
    def residue_tokens(self) -> tuple[str, ...]:
        """Token that each column of `residue_logits` stands for."""
        return self.encoder.tokens

    def embed(
        self,
        sequences: Sequence[str],
        *,
        pooling: str | None = None,
        space: str = "encoder",
        layer: int | None = None,
    ) -> npt.NDArray[np.float32]:
        """Embed sequences, one vector each.

        Parameters
        ----------
        sequences
            Residues, read as from a FASTA file: lower case as upper case, without ``*`` at the
            end. Any length: beyond one window (1,022 residues) overlapping windows are averaged
            residue by residue.
        pooling, space, layer
            As in ``protclip embed``; defaults are the model's.

        Returns
        -------
        numpy.ndarray
            Shape ``(B, D)``, or ``(B, P)`` in the joint space; float32, rows in input order.

        Raises
        ------
        InputError
            An empty sequence, or a letter that stands for no residue, with its position.
        UsageError
            A single string instead of a list, or settings that the model does not have.
        """
        sequences = _read_sequences(sequences)
        settings = resolve_settings(
            self.info, self.encoder.num_layers, pooling=pooling, space=space, layer=layer
        )
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        rows: list[npt.NDArray[np.float32] | None] = [None] * len(sequences)
        for batch in token_batches([len(sequences[i]) for i in order], DEFAULT_BATCH_TOKENS):
            chosen = [order[i] for i in batch]
            for i, result in zip(
                chosen, self.embed_batch([sequences[i] for i in chosen], settings), strict=True
            ):
                rows[i] = result.vector
        return (
            np.stack([r for r in rows if r is not None])
            if rows
            else np.empty((0, self.dim(settings)), np.float32)
        )

    def embed_proteins(self, sequences: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed sequences in the joint space; as `embed` with ``space="joint"``.

        Returns
        -------
        numpy.ndarray
            Unit vectors, shape ``(B, P)``, float32. Their products with those of
            `embed_text` are similarities between -1 and 1.
        """
        return self.embed(sequences, space="joint")

    @property
    def structure_model(self) -> StructureModel:
        """The structure encoder, read on first use.

        Raises
        ------
        UsageError
            The model has none.
        ModelError
            Its file is damaged, or does not fit.
        """
        require_structure_encoder(self.info)
        with self._structure_lock:
            if self._structure_model is None:
                assert self._make_structure_model is not None
                self._structure_model = self._make_structure_model()
            return self._structure_model

    def embed_structures(
        self, chains: Sequence[Chain], *, space: str = "joint"
    ) -> npt.NDArray[np.float32]:
        """Embed protein chains by their structures; see `StructureModel.embed`.

        Returns
        -------
        numpy.ndarray
            Unit vectors ``(B, P)``, to be compared with those of sequences and texts, or
            ``(B, D)`` with ``space="encoder"``; float32.
        """
        return self.structure_model.embed(chains, space=space)

    @torch.inference_mode()
    def project(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Project pooled encoder vectors into the joint space, such as those of a store.

        What `embed` gives in the encoder's space becomes what it gives in the joint space, if
        the pooling was the same and the layer the last.

        Parameters
        ----------
        vectors
            Shape ``(N, D)``; any float type, computed in float32.

        Returns
        -------
        numpy.ndarray
            Unit vectors ``(N, P)``, float32; a row that is not finite stays so.

        Raises
        ------
        UsageError
            The model has no joint space, or the vectors another shape.
        """
        if self._projection is None:
            raise UsageError(
                f"model {self.info.name} has no joint space",
                code="usage.no_joint_space",
                hint="use a ProtCLIP model",
            )
        if vectors.ndim != 2 or vectors.shape[1] != self.encoder.hidden_dim:
            raise UsageError(
                f"vectors of shape {vectors.shape} are not vectors of model {self.info.name}",
                code="usage.shape_mismatch",
                hint=f"give an array of (N, {self.encoder.hidden_dim})",
            )
        # A copy: torch would warn of an array that cannot be written.
        found = torch.from_numpy(np.array(vectors, np.float32)).to(self.encoder.device)
        projected: npt.NDArray[np.float32] = (
            F.normalize(self._projection(found), dim=-1).cpu().numpy()
        )
        return projected

    def embed_text(self, texts: Sequence[str], *, space: str = "joint") -> npt.NDArray[np.float32]:
        """Refuse: texts are for models that have a text encoder, see `ProtclipModel`.

        Raises
        ------
        UsageError
            Always; it names the model.
        """
        if self.info.text_encoder:
            raise UsageError(
                f"model {self.info.name} has no joint space",
                code="usage.no_joint_space",
                hint="take its text encoder alone: load_text_model",
            )
        raise UsageError(
            f"model {self.info.name} is a protein encoder and takes no texts",
            code="usage.model_without_texts",
            hint=f"use a ProtCLIP model, such as {DEFAULT_MODEL}",
        )

    @torch.inference_mode()
    def residue_logits(self, sequences: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """Masked-LM logits of every residue, from sequences as they are (nothing is masked).

        They come from the encoder's own head, else from the checkpoint's head on residues. A
        protein beyond one window has its last-layer vectors averaged over the windows, as for
        `embed`, and the head sees the averages.

        Parameters
        ----------
        sequences
            Residues, read as by `embed`.

        Returns
        -------
        list of numpy.ndarray
            For each sequence ``(L + 2, V)``, float32: before the first residue and behind the
            last there is a special token. `residue_tokens` names the columns.

        Raises
        ------
        InputError
            As `embed`.
        UsageError
            A single string, or a model that has neither head.
        """
        sequences = _read_sequences(sequences)
        head = self._residue_head()
        settings = resolve_settings(self.info, self.encoder.num_layers)
        results: list[npt.NDArray[np.float32]] = []
        for sequence in sequences:
            if len(sequence) <= settings.max_residues:
                packed = pack([self.encoder.encode(sequence)])
                hidden = self.encoder.hidden(packed)[self.encoder.num_layers]
            else:
                first, residues, last = self._average_windows(
                    sequence, settings, DEFAULT_BATCH_TOKENS
                )
                joined = torch.cat([first.unsqueeze(0), residues, last.unsqueeze(0)])
                hidden = joined.to(self.encoder.device)
            results.append(head(hidden.float()).float().cpu().numpy())
        return results

    def _residue_head(self) -> Callable[[Tensor], Tensor]:
        if self.encoder.has_lm_head:
            return self.encoder.logits
        if self.residue_heads is not None and self.residue_heads.mlm is not None:
            return self.residue_heads.mlm
        raise UsageError(
            f"model {self.info.name} has no head for residues",
            code="usage.no_mlm_head",
            hint="use a model with a masked-LM head, such as ESM-2",
        )

    def dim(self, settings: EmbedSettings) -> int:
        """Width of the vectors that `settings` ask for."""
        if settings.space == "joint":
            return int(self.info.joint_dim or 0)
        return self.encoder.hidden_dim

    def embed_batch(
        self,
        sequences: Sequence[str],
        settings: EmbedSettings,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
    ) -> list[Embedded]:
        """Embed a few sequences in one go; proteins longer than one window go one by one.

        Parameters
        ----------
        sequences
            Those that fit one window are packed together and should be sorted by length.
        settings
            What to compute, see `resolve_settings`.
        batch_tokens
            How many tokens of windows of one long protein to pack together.
        """
        results: list[Embedded | None] = [None] * len(sequences)
        short = [i for i, s in enumerate(sequences) if len(s) <= settings.max_residues]
        if short:
            packed = pack(self.encoder.encode(sequences[i]) for i in short)
            for i, result in zip(short, self._embed_packed(packed, settings), strict=True):
                results[i] = result
        for i, sequence in enumerate(sequences):
            if results[i] is None:
                results[i] = self._embed_windows(sequence, settings, batch_tokens)
        return [result for result in results if result is not None]

    def _embed_packed(self, batch: PackedTokens, settings: EmbedSettings) -> Iterator[Embedded]:
        hidden = self._hidden(batch, settings)
        vectors = self._finish(pool(hidden, batch, settings.pooling), settings)
        for row, (start, length) in enumerate(zip(batch.starts, batch.lengths, strict=True)):
            residues = None
            if settings.per_residue:
                own = self._project(hidden[start + 1 : start + length - 1], settings)
                residues = own.float().cpu().numpy()
            yield Embedded(vectors[row], residues)

    def _embed_windows(self, sequence: str, settings: EmbedSettings, batch_tokens: int) -> Embedded:
        """Average each residue over the windows that hold it, then pool and project."""
        first, residues, last = self._average_windows(sequence, settings, batch_tokens)
        if settings.pooling == "tokens":
            mean = (residues.sum(0) + first + last) / (len(sequence) + 2)
        else:
            mean = residues.mean(0)
        vector = self._finish(mean.unsqueeze(0).to(self.encoder.device), settings)[0]
        if not settings.per_residue:
            return Embedded(vector)
        projected = self._project(residues.to(self.encoder.device), settings)
        return Embedded(vector, projected.float().cpu().numpy())

    def _average_windows(
        self, sequence: str, settings: EmbedSettings, batch_tokens: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Average each residue over the windows that hold it, on the CPU in float32.

        Returns the first token ``(D,)``, residues ``(L, D)`` and the last token ``(D,)``: BOS of
        the first window and EOS of the last, so that pooling over tokens means the same as for
        a short protein.
        """
        starts = window_starts(len(sequence), settings.max_residues, settings.overlap)
        width = settings.max_residues
        together = max(1, batch_tokens // (width + 2))
        total: Tensor | None = None
        count = torch.zeros(len(sequence), 1)
        ends: list[Tensor] = []
        for begin in range(0, len(starts), together):
            some = starts[begin : begin + together]
            packed = pack(self.encoder.encode(sequence[s : s + width]) for s in some)
            hidden = self._hidden(packed, settings).float().cpu()
            if total is None:
                total = torch.zeros(len(sequence), hidden.shape[-1])
            for start, offset in zip(some, packed.starts, strict=True):
                total[start : start + width] += hidden[offset + 1 : offset + 1 + width]
                count[start : start + width] += 1
            if begin == 0:
                ends.append(hidden[0])
            if some[-1] == starts[-1]:
                ends.append(hidden[-1])
        assert total is not None
        return ends[0], total.div_(count), ends[1]

    def _hidden(self, batch: PackedTokens, settings: EmbedSettings) -> Tensor:
        """Token vectors ``(T, D)`` of the layer that `settings` ask for.

        A projection that reads the encoder's input finds it in the vectors of every layer, the
        same numbers: then those of layer 0 do, and no layer need be computed.
        """
        layer = 0 if settings.space == "joint" and self._reads_input else settings.layer
        return self.encoder.hidden(batch, (layer,))[layer]

    def _finish(self, pooled: Tensor, settings: EmbedSettings) -> npt.NDArray[np.float32]:
        """Project and normalise in the joint space; as they are in the encoder's."""
        projected = self._project(pooled, settings)
        if settings.space == "joint":
            projected = F.normalize(projected, dim=-1)
        result: npt.NDArray[np.float32] = projected.float().cpu().numpy()
        return result

    @torch.inference_mode()
    def _project(self, vectors: Tensor, settings: EmbedSettings) -> Tensor:
        """Project into the joint space, in float32; identity in the encoder's."""
        if settings.space == "encoder":
            return vectors
        assert self._projection is not None
        projected: Tensor = self._projection(vectors.float())
        return projected


def _read_sequences(sequences: Sequence[str]) -> list[str]:
    """Read sequences by the rules of FASTA files; refuse a single string."""
    if isinstance(sequences, str):
        raise UsageError(
            "one string was given", code="usage.not_a_list", hint="give a list of sequences"
        )
    for number, sequence in enumerate(sequences, start=1):
        if not isinstance(sequence, str):
            raise UsageError(
                f"sequence {number} is {sequence!r}, not a string", code="usage.not_text"
            )
    return [read_sequence(s, f"sequence {i + 1}") for i, s in enumerate(sequences)]

"""A picture of one protein: for each term, which residues it comes from.

Legend: L residues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from protclip_core.errors import UsageError
from protclip_core.io.atomic import write_atomic
from protclip_core.ontology.graph import expand
from protclip_core.ontology.ontology import Ontology
from protclip_core.records import printable
from protclip_core.report.figures import (
    GREY,
    TEXT_GREY,
    drawing,
    new_figure,
    plot_form,
    rendered,
)
from protclip_core.tasks.annotate.explain import ExplainedProtein
from protclip_core.tasks.annotate.selection import PredictedTerm
from protclip_core.terms.explain import THRESHOLD, TermResidues

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MOST_TERMS", "Track", "draw_tracks", "save_plot", "tracks_of"]

#: Tracks of one picture.
MOST_TERMS = 12
#: Proteins of at most this many residues show their letters.
_MOST_LETTERS = 130
_LONGEST_NAME = 96
#: Colours that differ for colour-blind eyes as well (Okabe and Ito).
_GO_COLOURS = {"MF": "#0072b2", "BP": "#d55e00", "CC": "#009e73"}
_GO_WORDS = {"MF": "molecular function", "BP": "biological process", "CC": "cellular component"}
_COLOURS = ("#9a4f7d", "#b07d00", "#3a87b7", "#5d5d5d")
_WIDTH, _TRACK, _MARGIN = 11.0, 0.78, 1.1


@dataclass(frozen=True, eq=False)
class Track:
    """One term in the picture.

    Attributes
    ----------
    id, name, aspect
        Of the term.
    note
        Behind the id: probability or cosine, in words.
    residues
        Where its similarity lies.
    """

    id: str
    name: str
    aspect: str
    note: str
    residues: TermResidues


def check_drawable(path: Path, protein: ExplainedProtein) -> None:
    """Refuse a protein of which nothing can be drawn.

    Raises
    ------
    UsageError
        It has no listed term.
    """
    if all(own is None for residues in protein.residues for own in residues):
        raise UsageError(
            f"no term is listed for {protein.protein_id}, so there is nothing to draw",
            code="usage.nothing_to_draw",
            where=str(path),
            hint="list its best terms with --top-k 3",
        )


def tracks_of(protein: ExplainedProtein, ontologies: Sequence[Ontology]) -> list[Track]:
    """Choose what is drawn of a protein: its terms, or the best of them where there are many.

    Of more than `MOST_TERMS` terms, those without a listed descendant come first, for the
    likeliest terms are the most general ones and say the least; then the likeliest. They stand
    in the order in which they are listed.

    Parameters
    ----------
    protein
        With its residues.
    ontologies
        Of each vocabulary.
    """
    tracks: list[Track] = []
    worth: list[tuple[bool, float, int]] = []
    for part, residues, ontology in zip(protein.found, protein.residues, ontologies):
        numbers = np.array([one.term for one in part.terms], dtype=np.int64)
        general = set(expand(ontology.closure, numbers)[1].tolist())
        for one, own in zip(part.terms, residues):
            if own is not None:
                score = one.cosine if one.probability is None else one.probability
                worth.append((one.term in general, -score, len(tracks)))
                tracks.append(_track(one, own, ontology))
    return [tracks[place] for place in sorted(place for *_, place in sorted(worth)[:MOST_TERMS])]


def _track(one: PredictedTerm, residues: TermResidues, ontology: Ontology) -> Track:
    note = f"cosine {one.cosine:.2f}"
    if one.probability is not None:
        note = f"probability {one.probability:.2f}"
    if not residues.segments:
        note += ", nothing stands out"
    aspect = ontology.aspect_names[ontology.aspects[one.term]]
    return Track(ontology.ids[one.term], ontology.names[one.term], aspect, note, residues)


def save_plot(
    path: Path, protein: ExplainedProtein, ontologies: Sequence[Ontology], *, model: str = ""
) -> None:
    """Draw a protein into a file that appears when it is complete.

    Parameters
    ----------
    path
        Ends with one of `FORMS`.
    protein
        With its residues.
    ontologies
        Of each vocabulary.
    model
        Name of the model, for the caption.

    Raises
    ------
    UsageError
        Another ending, or a protein without a listed term.
    ResourceError
        The disk is full.
    """
    form = plot_form(path)
    tracks = tracks_of(protein, ontologies)
    check_drawable(path, protein)
    caption = f"{len(protein.sequence):,} residues"
    listed = sum(len(part.terms) for part in protein.found)
    if len(tracks) < listed:
        caption += f"; {len(tracks)} of {listed} listed terms"
    if model:
        caption += f"; model {model}"
    data = draw_tracks(protein.protein_id, caption, protein.sequence, tracks, form=form)
    write_atomic(path, data)


def draw_tracks(
    title: str, caption: str, sequence: str, tracks: Sequence[Track], *, form: str = "png"
) -> bytes:
    """Draw a track for each term: similarity along the protein, what stands out in colour.

    Parameters
    ----------
    title, caption
        Above the picture.
    sequence
        Residues; their letters are shown if they are 130 or fewer.
    tracks
        At least one, each with a profile of ``(L,)``.
    form
        One of `FORMS`.

    Returns
    -------
    bytes
        The file; equal for equal arguments. Text of an SVG stays text.
    """
    with drawing():
        height = _TRACK * len(tracks) + _MARGIN
        figure = new_figure((_WIDTH, height))
        rows = figure.subplots(len(tracks), 1, sharex=True, squeeze=False)[:, 0]
        figure.subplots_adjust(
            left=0.035, right=0.985, top=1 - 0.78 / height, bottom=0.5 / height, hspace=0.95
        )
        aspects = list(dict.fromkeys(track.aspect for track in tracks))
        colours = {name: _colour(name, place) for place, name in enumerate(aspects)}
        for axes, track in zip(rows, tracks):
            _draw_track(axes, track, colours[track.aspect])
        _draw_places(rows[-1], sequence)
        _draw_title(figure, height, title, caption, colours)
        return rendered(figure, form)


def _colour(aspect: str, place: int) -> str:
    """Return the colour of an aspect: those of GO have their own in every picture."""
    return _GO_COLOURS.get(aspect) or _COLOURS[place % len(_COLOURS)]


def _draw_track(axes: Axes, track: Track, colour: str) -> None:
    """Draw the similarity of each residue as a step, marked segments filled."""
    profile = track.residues.profile
    edges = np.arange(len(profile) + 1) + 0.5
    axes.stairs(profile, edges, fill=True, color="#dcdcdc", linewidth=0)
    axes.stairs(profile, edges, color=GREY, linewidth=0.6, baseline=None)
    for first, last in track.residues.segments:
        inside = slice(first - 1, last)
        axes.stairs(profile[inside], edges[first - 1 : last + 1], fill=True, color=colour)
        axes.axvspan(first - 0.5, last + 0.5, ymin=0, ymax=1, color=colour, alpha=0.13, lw=0)
    _label_segments(axes, track.residues.segments, len(profile), colour)
    axes.axhline(THRESHOLD, color=GREY, linewidth=0.5, linestyle=(0, (2, 3)))
    name = track.name
    if len(name) > _LONGEST_NAME:
        name = name[: _LONGEST_NAME - 1] + "…"
    style: dict[str, Any] = {"xycoords": "axes fraction", "va": "bottom", "annotation_clip": False}
    axes.annotate(printable(name, 200), (0, 1.32), fontsize=9.5, color=colour, **style)
    axes.annotate(
        f"{track.id}  {track.note}", (1, 1.32), ha="right", fontsize=8, color=TEXT_GREY, **style
    )
    axes.set_ylim(0, 1)
    axes.set_xlim(0.5, len(profile) + 0.5)
    axes.set_yticks([0, 1])
    axes.tick_params(labelsize=7, length=2, color=GREY)
    axes.tick_params(axis="x", labelbottom=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)


def _label_segments(
    axes: Axes, segments: Sequence[tuple[int, int]], length: int, colour: str
) -> None:
    """Write first and last residue above the segments, where they do not overlap."""
    free_from = -np.inf
    for first, last in segments:
        text = f"{first}-{last}"
        middle, half = (first + last) / 2, length * 0.0033 * len(text)
        if middle - half < free_from:
            continue
        free_from = middle + half
        axes.annotate(
            text,
            (min(max(middle, half), length - half), 1.02),
            ha="center",
            va="bottom",
            fontsize=6.5,
            color=colour,
            annotation_clip=False,
        )


def _draw_places(axes: Axes, sequence: str) -> None:
    """Write the numbers of residues below the last track, with their letters if they are few."""
    axes.tick_params(axis="x", labelbottom=True)
    if len(sequence) > _MOST_LETTERS:
        axes.set_xlabel("residue", fontsize=8, labelpad=1)
        return
    places = [1, *range(10, len(sequence) + 1, 10)]
    axes.set_xticks(places, labels=[f"\n{place}" for place in places])
    for place, letter in enumerate(sequence, start=1):
        axes.annotate(
            letter,
            (place, -0.08),
            ha="center",
            va="top",
            fontsize=min(9.0, 760 / max(len(sequence), 1)),
            family="DejaVu Sans Mono",
            annotation_clip=False,
        )


def _draw_title(
    figure: Figure, height: float, title: str, caption: str, colours: dict[str, str]
) -> None:
    """Write what is shown above the tracks, and what the colours stand for."""
    style: dict[str, Any] = {"va": "top", "color": TEXT_GREY, "fontsize": 7.5}
    figure.text(0.035, 1 - 0.1 / height, printable(title, 80), va="top", fontsize=12, weight="bold")
    figure.text(
        0.035,
        1 - 0.31 / height,
        f"{caption}. Height: similarity of each residue to the term, from 0 to 1 within the "
        "protein; coloured: what stands out",
        **style,
    )
    right = 0.985
    for aspect, colour in reversed(colours.items()):
        text = _GO_WORDS.get(aspect, aspect)
        style |= {"fontsize": 8, "color": colour}
        figure.text(right, 1 - 0.12 / height, text, ha="right", **style)
        right -= 0.0066 * len(text) + 0.012

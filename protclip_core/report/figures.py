"""What all pictures have in common."""

from __future__ import annotations

from pathlib import Path

from protclip_core.errors import UsageError

__all__ = ["FORMS", "curve_paths", "plot_form"]

#: Endings of files, without the dot; also the names that matplotlib gives them.
FORMS = ("png", "svg", "pdf")


def plot_form(path: Path) -> str:
    """Return the form that the ending of a file asks for.

    Raises
    ------
    UsageError
        Another ending than those of `FORMS`.
    """
    form = path.suffix.lower().removeprefix(".")
    if form not in FORMS:
        raise UsageError(
            f"a picture cannot be written as {path.suffix or 'a file without an ending'}",
            where=str(path),
            hint=f"end the name with {', '.join('.' + form for form in FORMS)}",
        )
    return form


def curve_paths(folder: Path) -> tuple[Path, Path]:
    """Return the pictures that `head_report.draw_curves` writes."""
    return folder / "precision_recall.png", folder / "calibration.png"

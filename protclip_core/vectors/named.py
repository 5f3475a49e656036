"""Finding proteins by name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from protclip_core.io.protein_names import ProteinNames
from protclip_core.store.format import duplicate_id

__all__ = ["NamedRows"]


class NamedRows:
    """Rows of proteins by name.

    Parameters
    ----------
    where
        Name of the input, for messages.
    ids
        One for each row.

    Attributes
    ----------
    rows
        Row of each id.

    Raises
    ------
    InputError
        An id occurs twice.
    """

    def __init__(self, where: str, ids: Sequence[str]) -> None:
        self._where, self._ids = where, ids
        self.rows = {id: row for row, id in enumerate(ids)}
        if len(self.rows) != len(ids):
            raise duplicate_id(where, next(id for n, id in enumerate(ids) if self.rows[id] != n))

    @cached_property
    def _names(self) -> ProteinNames:
        return ProteinNames(self._ids, self._where)

    def find(self, name: str) -> int | str:
        """Return the row of a protein, or why there is none.

        A name is an id, or stands for one as `ProteinNames` has it: ``P69905`` for
        ``sp|P69905|HBA_HUMAN``.
        """
        row = self.rows.get(name)
        if row is not None:
            return row
        match = self._names.find(name)
        return match.reason if match.id is None else self.rows[match.id]

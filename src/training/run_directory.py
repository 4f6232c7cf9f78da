"""What a run leaves behind: tables, status, protocol."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..components.files import write_atomically


class Table:
    """A CSV file with fixed columns, written row by row.

    Args:
        path: created with a header line if it does not exist.
        columns: in order.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        new = not path.exists() or path.stat().st_size == 0
        self._file = path.open("a", encoding="utf-8", newline="\n")
        if new:
            self._file.write(",".join(map(_text, self._columns)) + "\n")
            self._file.flush()

    def append(self, values: Mapping[str, float | str]) -> None:
        """Add one row; a column without a value stays empty.

        Raises:
            ValueError: a value for which there is no column.
        """
        unknown = set(values) - set(self._columns)
        if unknown:
            raise ValueError(f"no column for {', '.join(sorted(unknown))}")
        self._file.write(",".join(_text(values.get(column, "")) for column in self._columns) + "\n")

    def position(self) -> int:
        """Size in bytes with everything on disk, for `cut`."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def flush(self) -> None:
        """Make rows visible to whoever reads the file."""
        self._file.flush()

    def cut(self, position: int) -> None:
        """Drop everything after an earlier `position`."""
        self._file.flush()
        self._file.truncate(position)

    def clear(self) -> None:
        """Drop all rows."""
        self.cut(0)
        self._file.write(",".join(map(_text, self._columns)) + "\n")

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()


class RunDirectory:
    """The directory of one run and the tables in it.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._tables: dict[str, Table] = {}

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are."""
        return self.path / "checkpoints"

    def table(self, name: str, columns: Sequence[str]) -> Table:
        """Open ``<name>.csv``."""
        self._tables[name] = Table(self.path / f"{name}.csv", columns)
        return self._tables[name]

    def positions(self) -> dict[str, int]:
        """Sizes of all tables, everything on disk."""
        return {name: table.position() for name, table in self._tables.items()}

    def cut(self, positions: Mapping[str, int]) -> None:
        """Cut every table back to earlier `positions`."""
        for name, table in self._tables.items():
            table.cut(positions[name])

    def clear(self) -> None:
        """Empty every table: the run starts again."""
        for table in self._tables.values():
            table.clear()

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write ``<name>.json``, whole or not at all."""
        write_atomically(self.path / f"{name}.json", (json.dumps(content, indent=2) + "\n").encode())

    def status(self, state: str, reason: str | None = None) -> None:
        """Write ``status.json``: running, finished, failed or interrupted, with the reason."""
        self.write_json("status", {"status": state, "reason": reason})

    def close(self) -> None:
        """Close all tables."""
        for table in self._tables.values():
            table.close()


def _text(value: float | str) -> str:
    if isinstance(value, float):
        return repr(float(value))
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text

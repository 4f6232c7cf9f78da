"""What a run leaves behind: tables, status, protocol; and to which process it belongs."""

from __future__ import annotations

import errno
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..components.files import CheckpointError, WriteError, checksum, remove_leftovers, write_atomically, writing
from ..registry import ConfigError

try:
    import fcntl
except ImportError:  # on an operating system that lacks it, nothing is locked
    fcntl = None  # type: ignore[assignment]

Mark = Mapping[str, Any]
"""How far a table had been written: its ``size`` in bytes, and their ``checksum``."""
_LOCK = ".lock"


class Table:
    """A CSV file with fixed columns, written row by row.

    Args:
        path: created with a header line if it does not exist.
        columns: in order.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path, self._columns = path, tuple(columns)
        with writing(path):
            self._file = path.open("a", encoding="utf-8", newline="\n")
            if not self._file.tell():
                self._write_header()
                self._file.flush()

    def append(self, values: Mapping[str, float | str]) -> None:
        """Add one row; a column without a value stays empty.

        Raises:
            ValueError: a value for which there is no column.
            WriteError: the disk is full, say; likewise the other methods.
        """
        unknown = set(values) - set(self._columns)
        if unknown:
            raise ValueError(f"no column for {', '.join(sorted(unknown))}")
        with writing(self._path):
            self._file.write(",".join(_text(values.get(column, "")) for column in self._columns) + "\n")

    def position(self) -> Mark:
        """How far it is written, with everything on disk, for `cut`."""
        with writing(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            content = self._path.read_bytes()
        return {"size": len(content), "checksum": checksum(content)}

    def flush(self) -> None:
        """Make rows visible to whoever reads the file."""
        with writing(self._path):
            self._file.flush()

    def cut(self, position: Mark) -> None:
        """Drop everything after an earlier `position`."""
        with writing(self._path):
            self._file.flush()
            self._file.truncate(position["size"])

    def clear(self) -> None:
        """Drop all rows."""
        with writing(self._path):
            self._file.flush()
            self._file.truncate(0)
            self._write_header()

    def close(self) -> None:
        """Close the file; may be called twice."""
        with writing(self._path):
            self._file.close()

    def _write_header(self) -> None:
        self._file.write(",".join(map(_text, self._columns)) + "\n")


def check_table(path: Path, position: Mark) -> None:
    """Refuse a table whose beginning is not what it was at an earlier `Table.position`; changes nothing.

    Raises:
        CheckpointError: it is shorter, or has another content.
    """
    content = path.read_bytes()[: position["size"]] if path.is_file() else b""
    if len(content) < position["size"]:
        raise CheckpointError(f"{path} is shorter than it was at the checkpoint")
    if checksum(content) != position["checksum"]:
        raise CheckpointError(f"{path} is damaged or was changed: its rows are not those of the checkpoint")


def read_status(directory: Path) -> str | None:
    """How a run stands, None where its ``status.json`` does not say so."""
    try:
        status = json.loads((directory / "status.json").read_bytes())["status"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return status if isinstance(status, str) else None


def refuse_links(directory: Path) -> None:
    """Refuse a run directory from which a link leads out, through which other files would be written or deleted.

    Links that stay inside, such as those that wandb makes, are left alone.

    Raises:
        ConfigError: names the link.
    """
    inside = os.path.realpath(directory)
    for folder, folders, files in os.walk(directory):
        for path in (Path(folder, name) for name in (*folders, *files)):
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
                raise ConfigError(
                    f"{path} is a link that leads out of {directory}, and continuing the run could write through it; "
                    f"replace it by what it leads to"
                )


@contextmanager
def owning(directory: Path) -> Iterator[None]:
    """Inside, a run directory belongs to this process alone; the system gives it back when the process is killed.

    Raises:
        ConfigError: it belongs to another process, or holds a run with links that lead out of it.
        WriteError: nothing can be written there.
    """
    if (directory / "config.yaml").exists():  # else it holds no run, and may be any folder
        refuse_links(directory)
    new = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    path = directory / _LOCK
    descriptor = _lock(path)
    try:
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                path.unlink()  # while it is locked, so that nobody can have locked it since
            os.close(descriptor)
        with suppress(OSError):  # something was written
            for folder in new:
                folder.rmdir()


def _lock(path: Path) -> int | None:
    """Lock a file and write this process's number into it; None where files cannot be locked."""
    if fcntl is None:
        return None
    while True:
        with writing(path):
            descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                break
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip()
            os.close(descriptor)
            process = f"process {holder}" if holder else "another process"
            raise ConfigError(f"{path.parent} is in use by {process}; wait until it ends, or end it") from None
        except FileNotFoundError:  # whoever had it has removed it: once more
            pass
        except OSError:  # a file system without locks
            os.close(descriptor)
            with suppress(OSError):
                path.unlink()
            return None
        os.close(descriptor)
    with suppress(OSError):  # on a full disk the lock holds without the number
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} on {platform.node()}\n".encode())
    return descriptor


def _open(path: Path) -> int:
    """Open a lock file, which programs that this one starts do not inherit."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ConfigError(f"{path} is a link, which no lock is; delete it") from error
        raise


class RunDirectory:
    """The directory of one run and the tables in it.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
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

    def positions(self) -> dict[str, Mark]:
        """How far every table is written, with everything on disk."""
        return {name: table.position() for name, table in self._tables.items()}

    def cut(self, positions: Mapping[str, Mark]) -> None:
        """Cut every table back to earlier `positions`."""
        for name, table in self._tables.items():
            table.cut(positions[name])

    def clear(self) -> None:
        """Empty every table: the run starts again."""
        for table in self._tables.values():
            table.clear()

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write ``<name>.json``, whole or not at all."""
        write_atomically(self.path / f"{name}.json", _json(content))

    def status(self, state: str, reason: str | None = None) -> None:
        """Write ``status.json``: running, finished, failed or interrupted, with the reason."""
        content = _json({"status": state, "reason": reason})
        path = self.path / "status.json"
        try:
            write_atomically(path, content)
        except WriteError:  # where there is no room for a new file, there may be some in the old one
            with writing(path), path.open("r+b") as file:
                file.write(content)
                file.truncate()

    def remove_leftovers(self) -> None:
        """Delete the temporary files of earlier processes that were killed while they wrote."""
        for folder in (self.path, self.checkpoints, self.checkpoints / "replay"):
            remove_leftovers(folder)

    def close(self) -> None:
        """Close all tables."""
        for table in self._tables.values():
            table.close()


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _text(value: float | str) -> str:
    if isinstance(value, float):
        return repr(float(value))
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text

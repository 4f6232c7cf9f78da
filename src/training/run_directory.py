"""The directory of a run: its tables, status and protocol, and the lock that keeps other processes out."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
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
"""How far a table was written: its ``size`` in bytes, and the ``checksum`` of these bytes."""
_LOCK = ".lock"


class Table:
    """A CSV file with fixed columns, written row by row.

    Args:
        path: created with a header line if it does not exist.
        columns: their names, in order.
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
            ValueError: there is no column for a value.
            WriteError: the file cannot be written, e.g. as the disk is full; so do the other methods.
        """
        unknown = set(values) - set(self._columns)
        if unknown:
            raise ValueError(f"no column for {', '.join(sorted(unknown))}")
        with writing(self._path):
            self._file.write(",".join(_text(values.get(column, "")) for column in self._columns) + "\n")

    def position(self) -> Mark:
        """Flush everything to disk, and return how far the table is written, for `cut`."""
        with writing(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            content = self._path.read_bytes()
        return {"size": len(content), "checksum": checksum(content)}

    def flush(self) -> None:
        """Make the rows visible to other programs that read the file."""
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
    """Refuse a table of which the part before an earlier `Table.position` was changed; writes nothing.

    Raises:
        CheckpointError: the table is shorter than that, or its content is another.
    """
    content = path.read_bytes()[: position["size"]] if path.is_file() else b""
    if len(content) < position["size"]:
        raise CheckpointError(f"{path} is shorter than it was at the checkpoint")
    if checksum(content) != position["checksum"]:
        raise CheckpointError(f"{path} is damaged or was changed: its rows are not those of the checkpoint")


def read_status(directory: Path) -> str | None:
    """The status in a run's ``status.json``, such as ``finished``; None if it cannot be read."""
    try:
        status = json.loads((directory / "status.json").read_bytes())["status"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return status if isinstance(status, str) else None


_LOG_OF_WANDB = r"wandb/(offline-)?run-[^/]+/logs/debug-core\.log"


def refuse_links(directory: Path) -> None:
    """Refuse a run directory with a symbolic link to the outside: files there could be written or deleted through it.

    Links to the inside, such as those that wandb makes, are allowed; and so is the one by which wandb leads to its log
    in the user's cache. It is never opened again: a run that is continued gets another folder of wandb.

    Raises:
        ConfigError: names the link.
    """
    inside = os.path.realpath(directory)
    for folder, folders, files in os.walk(directory):
        for path in (Path(folder, name) for name in (*folders, *files)):
            if re.fullmatch(_LOG_OF_WANDB, path.relative_to(directory).as_posix()):
                continue
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
                raise ConfigError(
                    f"{path} is a link that leads out of {directory}, and continuing the run could write through it; "
                    f"replace it by what it leads to"
                )


@contextmanager
def owning(directory: Path) -> Iterator[None]:
    """Inside the ``with`` block, this process has the lock of a run directory; if it is killed, the lock is released.

    Raises:
        ConfigError: another process has the lock, or the directory holds a run with links to the outside.
        WriteError: nothing can be written there.
    """
    if (directory / "config.yaml").exists():  # else it may be any folder, with links of its own
        refuse_links(directory)
    new = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(directory / _LOCK):
            yield
    finally:
        with suppress(OSError):  # a folder in which something was written is not empty
            for folder in new:
                folder.rmdir()


def require_free(directory: Path) -> None:
    """Refuse a run directory of which another process has the lock.

    Raises:
        ConfigError: names the process.
    """
    if (directory / _LOCK).exists():  # a process that was killed leaves the file, without a lock
        with _locked(directory / _LOCK):
            pass


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Inside the ``with`` block, a file is locked; then it is deleted."""
    descriptor = _lock(path)
    try:
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                path.unlink()  # before unlocking: after it, another process may have locked the file
            os.close(descriptor)


def _lock(path: Path) -> int | None:
    """Lock a file, write this process's id into it, and return its descriptor; None where files cannot be locked."""
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
        except FileNotFoundError:  # its last owner has just deleted it: try again
            pass
        except OSError:  # a file system without locks
            os.close(descriptor)
            with suppress(OSError):
                path.unlink()
            return None
        os.close(descriptor)
    with suppress(OSError):  # on a full disk the file stays empty, but locked
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} on {platform.node()}\n".encode())
    return descriptor


def _open(path: Path) -> int:
    """Open a lock file; programs that this one starts do not inherit the descriptor."""
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
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    def table(self, name: str, columns: Sequence[str]) -> Table:
        """Open ``<name>.csv``."""
        self._tables[name] = Table(self.path / f"{name}.csv", columns)
        return self._tables[name]

    def positions(self) -> dict[str, Mark]:
        """Flush all tables to disk, and return how far each is written."""
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
        """Write ``<name>.json`` atomically."""
        write_atomically(self.path / f"{name}.json", _json(content))

    def status(self, state: str, reason: str | None = None) -> None:
        """Write ``status.json``: running, finished, failed or interrupted, with the reason."""
        content = _json({"status": state, "reason": reason})
        path = self.path / "status.json"
        try:
            write_atomically(path, content)
        except WriteError:  # on a full disk, the old file can still be overwritten
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

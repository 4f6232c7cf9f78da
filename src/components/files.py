"""Files of a run: written atomically and with a checksum; reading them executes nothing."""

from __future__ import annotations

import hashlib
import io
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from ..registry import ConfigError

_SEAL = b"\nhymarl blake2b "
_LAST_LINE = "# checksum: "
_DIGEST_BYTES = 32
_ZIP_END = b"PK\x05\x06"  # torch.save writes a zip file, whose last 22 bytes begin with this
_TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp")


class CheckpointError(ConfigError):
    """A file of a run is missing, damaged or does not fit the run; the message is one sentence."""


class WriteError(Exception):
    """A file of a run could not be written, for a reason outside of the program such as a full disk."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Inside the ``with`` block, an OSError becomes a WriteError that names the file.

    Raises:
        WriteError: the file could not be written.
    """
    try:
        yield
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Replace a file atomically, and wait until it is on disk; after a crash, the file is the old or the new one.

    Raises:
        WriteError: it could not be written; the old file is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that killed processes left in a folder; keep those of processes that still run."""
    for path in folder.glob(".*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match and not _runs(int(match[1])):
            with suppress(OSError):
                path.unlink()


def checksum(content: bytes | memoryview) -> str:
    """The BLAKE2b hash of the content, 256 bits in hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


def with_checksum(text: str) -> str:
    """A text with its checksum in a comment at its end."""
    return f"{text}{_LAST_LINE}{checksum(text.encode())}\n"


def keeps_checksum(text: str) -> bool | None:
    """Whether a text of `with_checksum` is as it was; None if there is no checksum in it."""
    body, mark, digest = text.rpartition(_LAST_LINE)
    return digest.strip() == checksum(body.encode()) if mark else None


def save(path: Path, data: dict[str, Any]) -> str:
    """Write tensors and plain data, with their checksum at the end of the file, and return the checksum.

    Raises:
        WriteError: it could not be written.
    """
    import torch

    stream = io.BytesIO()
    torch.save(data, stream)
    with stream.getbuffer() as content:
        digest = checksum(content)
    stream.seek(0, io.SEEK_END)
    stream.write(_SEAL + digest.encode())
    write_atomically(path, stream.getbuffer())
    return digest


def load(path: Path, noted: str | None = None, *, sealed: bool = False) -> dict[str, Any]:
    """Read what `save` wrote, on the CPU; never executes anything from the file.

    Files of the first release have no checksum; they are read unless one is required.

    Args:
        path: the file.
        noted: the checksum that the file must have, as `save` returned it; ``None``: any.
        sealed: whether a file without a checksum is refused; always so if ``noted`` is given.

    Raises:
        CheckpointError: the file is missing or damaged, holds something other than data, or has another checksum.
    """
    import torch

    content = _unsealed(path, noted, sealed or noted is not None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about pickle files that it did not write
            data = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds something other than data (tensors, numbers, text); it was not loaded"
        ) from error
    except Exception as error:  # torch's reader does not check what it reads, so a damaged file can raise any error
        raise CheckpointError(f"{path} is damaged: what it holds cannot be read") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is not a checkpoint of this program")
    return data


def texts(data: Any) -> Iterator[str]:
    """All strings in plain data, including the keys of mappings."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield from texts(key)
            yield from texts(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from texts(value)


def refuse_references(data: Any, path: Path) -> None:
    """Refuse plain data with ``${…}``: OmegaConf would resolve it after the check, e.g. to an environment variable.

    Raises:
        CheckpointError: a string has one; a run saves resolved values only.
    """
    for text in texts(data):
        if "${" in text:
            raise CheckpointError(
                f"{path} holds {text!r}, but a run never writes ${{…}}; it was made by something else"
            )


def find_weights(path: Path, which: str = "best") -> Path:
    """The weights file in a run directory: the best if asked for and there, else the last. A file is returned as is.

    Raises:
        CheckpointError: there is no weights file.
    """
    if path.is_file():
        return path
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; give a run directory or a .pt file of its checkpoints/")
    folder = path / "checkpoints"
    if which == "best" and (folder / "best.pt").exists():
        return folder / "best.pt"
    weights = sorted(folder.glob("weights_*.pt"))
    if not weights:
        raise CheckpointError(f"{path} holds no checkpoints; give a run directory or a .pt file of its checkpoints/")
    return weights[-1]


def keep_newest(paths: list[Path], n: int) -> None:
    """Delete the files except the last ``n`` in the order of their names."""
    for old in sorted(paths)[: max(0, len(paths) - n)]:
        old.unlink(missing_ok=True)


def _unsealed(path: Path, noted: str | None, sealed: bool) -> bytes:
    """The content of a file without the checksum at its end, which is verified.

    Raises:
        CheckpointError: the checksum is wrong or missing, or the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    seal = len(_SEAL) + 2 * _DIGEST_BYTES
    found = content[-2 * _DIGEST_BYTES :] if content[-seal:].startswith(_SEAL) else None
    if found is None and not sealed and content[-22:-18] == _ZIP_END:
        return content  # a file of the first release
    content = content[:-seal]
    digest = checksum(content)
    if found != digest.encode():
        raise CheckpointError(f"{path} is damaged or no file of HyMARL: the checksum at its end is missing or wrong")
    if noted is not None and noted != digest:
        raise CheckpointError(f"{path} is not the file that the checkpoint names: its checksum is another one")
    return content


def _runs(pid: int) -> bool:
    """Whether another process with this id is running."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it runs, but belongs to another user
        return True
    return True


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Files that survive: written whole under a temporary name, synced, then renamed; read back as data only."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch


class CheckpointError(Exception):
    """A checkpoint is missing, damaged or does not fit: one sentence for people."""


def write_atomically(path: Path, content: bytes) -> None:
    """After this returns the file is on disk whole; a crash before leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_directory(path.parent)


def save(path: Path, data: dict[str, Any]) -> str:
    """Write tensors and plain data; returns a checksum of the file."""
    stream = io.BytesIO()
    torch.save(data, stream)
    content = stream.getvalue()
    write_atomically(path, content)
    return hashlib.blake2b(content).hexdigest()


def load(path: Path, checksum: str | None = None) -> dict[str, Any]:
    """Read what `save` wrote, on the CPU; never executes anything from the file.

    Raises:
        CheckpointError: the file is missing, damaged, holds other than data, or is not the one the checksum was made
            of.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    if checksum is not None and hashlib.blake2b(content).hexdigest() != checksum:
        raise CheckpointError(f"{path} is damaged: its checksum is not the one noted in the checkpoint")
    try:
        data = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # of whatever kind: torch's reader believes what it reads, and stumbles anywhere
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} is damaged or not a checkpoint: {reason}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is not a checkpoint of this program")
    return data


def find_weights(path: Path, which: str = "best") -> Path:
    """The weights file that ``path`` (a run directory or the file itself) means.

    Raises:
        CheckpointError: there is none.
    """
    if path.is_file():
        return path
    folder = path / "checkpoints"
    if which == "best" and (folder / "best.pt").exists():
        return folder / "best.pt"
    weights = sorted(folder.glob("weights_*.pt"))
    if not weights:
        raise CheckpointError(f"{path} holds no checkpoints; give a run directory or a .pt file of its checkpoints/")
    return weights[-1]


def keep_newest(paths: list[Path], n: int) -> None:
    """Delete all but the last ``n`` files by name."""
    for old in sorted(paths)[: max(0, len(paths) - n)]:
        old.unlink(missing_ok=True)


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

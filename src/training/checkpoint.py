"""What a run's ``checkpoints/`` holds.

``latest.pt`` is everything an exact continuation needs but the replayed episodes; ``replay/`` those, in files that are
written once; ``weights_<step>.pt`` the last few and ``best.pt`` the best by validation return, both weights only.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..components.episode import EpisodeBatch
from ..components.files import CheckpointError, load, save
from ..components.replay.base import Replay

_NAME = re.compile(r"episodes_\d+_\d+\.pt")


class ReplayFiles:
    """Replayed episodes on disk: each checkpoint adds a file of new ones; files of which replay holds none are deleted.

    A file is never changed once written, so the files a checkpoint lists are as they were when it was made, even if the
    process was killed later.

    Args:
        folder: where the files are.
        entries: what an earlier `append` returned, to continue.
    """

    def __init__(self, folder: Path, entries: list[dict[str, Any]] | None = None) -> None:
        self._folder = folder
        self._entries = list(entries or [])

    def append(self, replay: Replay) -> list[dict[str, Any]]:
        """Write the episodes that are not on disk yet; returns the list of files that hold them."""
        done = self._entries[-1]["end"] if self._entries else 0
        first = max(done, replay.first)
        if first < replay.n_inserted:
            name = f"episodes_{first:09d}_{replay.n_inserted:09d}.pt"
            checksum = save(self._folder / name, dict(replay.episodes(first).tensors()))
            self._entries.append({"file": name, "first": first, "end": replay.n_inserted, "checksum": checksum})
        self._entries = [entry for entry in self._entries if entry["end"] > replay.first]
        return list(self._entries)

    def prune(self) -> None:
        """Delete files no longer listed; only after the checkpoint that no longer lists them is on disk."""
        listed = {entry["file"] for entry in self._entries}
        for path in self._folder.glob("*.pt"):
            if path.name not in listed and _NAME.fullmatch(path.name):
                path.unlink()

    def restore(self, replay: Replay) -> None:
        """Put the episodes back where they were.

        Raises:
            CheckpointError: a file is missing, damaged or not in the folder.
        """
        outside = [e["file"] for e in self._entries if Path(e["file"]).name != e["file"]]
        if outside:
            raise CheckpointError(f"{outside[0]} is no file of {self._folder}, which alone holds replayed episodes")
        files = (load(self._folder / e["file"], e["checksum"]) for e in self._entries)  # one at a time
        parts = (EpisodeBatch.from_tensors(replay.columns, tensors) for tensors in files)
        replay.restore(self._entries[0]["first"] if self._entries else 0, parts)

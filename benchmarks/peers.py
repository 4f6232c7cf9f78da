"""Virtual environments for the peers, made from peers/*.txt."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from cases import HERE

PEERS = tuple(sorted(path.stem for path in (HERE / "peers").glob("*.txt")))


def python_of(peer: str, folder: Path) -> Path:
    """The interpreter of a peer's virtual environment, which is made first if it is not there or its list has changed.

    The list is installed without resolving, so that nothing brings another torch.
    """
    wanted, venv = HERE / "peers" / f"{peer}.txt", folder / peer
    python, installed = venv / "bin" / "python", venv / "installed.txt"
    if installed.is_file() and installed.read_bytes() == wanted.read_bytes():
        return python
    print(f"making {venv}; this takes a few minutes", flush=True)
    shutil.rmtree(venv, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "setuptools<81", "wheel"], check=True)  # for what has no wheel
    subprocess.run([*install, "--no-deps", "--no-build-isolation", "-r", str(wanted)], check=True)
    shutil.copyfile(wanted, installed)
    return python

"""An environment for each peer, because their versions exclude each other.

``python -m benchmarks.peers.environments`` makes those that are missing, in ``runs/peers`` or in
the folder of the variable ``BIGREC_PEERS``.
"""

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

from bigrec.storage import write_text

REQUIREMENTS = Path(__file__).parent / "requirements"
PEERS = ("implicit", "rectools", "recbole")
_FAILURE = "failure.txt"
_SHOWN = 500


def environments_folder() -> Path:
    """The folder of all environments."""
    return Path(os.environ.get("BIGREC_PEERS", "runs/peers"))


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment."""
    return environments_folder() / peer / "bin" / "python"


def why_missing(peer: str) -> str | None:
    """Why a peer cannot run; None if its environment is there."""
    failure = environments_folder() / peer / _FAILURE
    if failure.is_file():
        return failure.read_text(encoding="utf-8").strip()
    if not python_of(peer).is_file():
        return "no environment: run python -m benchmarks.peers.environments"
    return None


def make(peer: str) -> bool:
    """Make a peer's environment, and keep the reason where it does not install.

    Returns:
        Whether it was installed.
    """
    folder = environments_folder() / peer
    venv.create(folder, clear=True, with_pip=True)
    command = [str(python_of(peer)), "-m", "pip", "install", "--quiet"]
    # A requirement pins torch to the version whose wheels for the CPU bigrec uses, too.
    command += ["--requirement", str(REQUIREMENTS / f"{peer}.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode == 0:
        return True
    write_text(folder / _FAILURE, done.stderr.strip()[-_SHOWN:])
    return False


def main() -> None:
    """Make the missing environments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.parse_args()
    for peer in PEERS:
        if why_missing(peer) is not None:
            make(peer)
        sys.stdout.write(f"{peer}: {why_missing(peer) or 'installed'}\n")


if __name__ == "__main__":
    main()

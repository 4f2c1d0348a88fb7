"""Runs README's first command in a fresh clone and a fresh virtual environment, without network once installed.

Not a test of the suite: README's second command runs the suite, so this stands beside it. Run it from a checkout with
any Python; it checks what is committed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from readme import ROOT, commands, printed_answer

ANSWER_SECONDS = 20.0  # measured: 9 s on two slow cores, 7 of them for importing torch and transformers


def main() -> int:
    one, two = commands()
    problems = []
    if two not in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines():
        problems.append(f"README's second command is no line of .ci/run: {two}")
    with tempfile.TemporaryDirectory(prefix="vidweave-readme-") as folder:
        problems += _run_first(one, Path(folder))
    print("\n".join(problems) or "README does what it says", file=sys.stderr if problems else sys.stdout)
    return bool(problems)


def _run_first(command: str, folder: Path) -> list[str]:
    clone = folder / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    install, _, ask = command.rpartition(" && ")
    home = {**os.environ, "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run(["bash", "-c", install], cwd=clone, env=home, check=True)
    start = time.monotonic()
    done = subprocess.run(
        [*_without_network(), "bash", "-c", ask], cwd=clone, env=home, capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - start
    print(f"command one answered in {seconds:.1f} s:\n{done.stdout}")
    problems = []
    if done.returncode or done.stderr:
        problems.append(f"command one left with {done.returncode} and said on stderr: {done.stderr or '(nothing)'}")
    if _words(done.stdout) != _words(printed_answer()):
        problems.append(f"command one printed {done.stdout!r}, README shows {printed_answer()!r}")
    if seconds > ANSWER_SECONDS:
        problems.append(
            f"command one took {seconds:.1f} s after the installation, at most {ANSWER_SECONDS:.0f} are allowed"
        )
    return problems


def _words(text: str) -> list[str]:
    """Words in order; scores are not compared, their last digits differ between processors."""
    return re.sub(r"-?\d+\.\d+", "NUMBER", text).split()


def _without_network() -> list[str]:
    """A prefix that takes the network away; where the kernel allows none, the hub's client is told to stay offline."""
    for prefix in (["unshare", "-rn"], ["unshare", "-n"]):
        try:
            if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
                return prefix
        except FileNotFoundError:
            break
    return ["env", "HF_HUB_OFFLINE=1"]


if __name__ == "__main__":
    sys.exit(main())

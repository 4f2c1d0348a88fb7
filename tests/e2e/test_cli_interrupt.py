"""An interrupt in the first timestamps: the console script has not even imported its commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).with_name("vidweave")
# Sends the signal at the moment at which a module is first looked for, then runs the script as the shell would.
HARNESS = """
import os, runpy, signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs deaf to it

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
script, sys.argv = sys.argv[2], sys.argv[2:]
runpy.run_path(script, run_name="__main__")
"""


@pytest.mark.parametrize(
    "module", ["vidweave.cli.app", "typer", "vidweave.registry", "vidweave.cli.doctor", "av", "numpy"]
)
def test_an_interrupt_during_imports_is_one_line_and_130(module, tmp_path):
    command = [sys.executable, "-c", HARNESS, module, str(SCRIPT), "inspect", "x.mp4"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env=dict(os.environ)
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")

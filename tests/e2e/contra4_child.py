"""A small Contra4 run in a process of its own that kills itself: ``contra4_child.py OUT UNTIL DEATH [MEDIA]``;
with a folder of media the run begins at files of one's own.

Dies (as from ``kill -9``) at the DEATH-th time that it touches the disk: half-way through a write, before a rename, or
after one. 0 lives.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "contra4"))

from contra4_rows import media_pipeline, pipeline

from vidweave.contra4.pipeline import run


class Death:
    def __init__(self, at: int) -> None:
        self.left, self.write, self.replace = at, os.write, os.replace
        os.write, os.replace = self.torn_write, self.lost_rename

    def comes(self) -> bool:
        self.left -= 1
        return self.left == 0

    def torn_write(self, descriptor: int, data: Any) -> int:
        if self.comes():
            self.write(descriptor, bytes(data)[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return self.write(descriptor, data)

    def lost_rename(self, source: Any, target: Any) -> None:
        if self.comes():
            os.kill(os.getpid(), signal.SIGKILL)
        self.replace(source, target)
        if self.comes():
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    out, until, death, *media = sys.argv[1:]
    made = media_pipeline(Path(media[0])) if media else pipeline()
    Death(int(death))
    run(made, out, until=until, progress=False)

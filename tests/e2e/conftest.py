import pytest

from vidweave.cli.main import run


@pytest.fixture
def call(capsys):
    """Run a command in this process: what it printed, where it succeeds and says nothing on stderr."""

    def calling(*arguments):
        code = run([str(a) for a in arguments])
        reply = capsys.readouterr()
        assert (code, reply.err) == (0, "")
        return reply.out

    return calling

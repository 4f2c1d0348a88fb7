"""``python -m vidweave`` is the `vidweave` command."""

from vidweave.cli.main import main

if __name__ == "__main__":
    main()

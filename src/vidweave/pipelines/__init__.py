"""From files to answers: what `vidweave.load` returns."""

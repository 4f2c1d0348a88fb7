"""What can be evaluated: one file per task, each a class registered in `vidweave.registry.TASKS`."""

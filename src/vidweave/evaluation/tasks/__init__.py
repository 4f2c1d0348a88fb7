"""Evaluation tasks: one file per task, each a class registered in `vidweave.registry.TASKS`."""

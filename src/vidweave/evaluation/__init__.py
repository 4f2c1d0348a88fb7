"""Evaluate models: tasks, a runner with resumable records, metrics and statistics. Models are `Answerer`s."""

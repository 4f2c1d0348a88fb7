"""Evaluate models: tasks, a runner with resumable predictions, metrics and statistics. Models are `Answerer`s."""

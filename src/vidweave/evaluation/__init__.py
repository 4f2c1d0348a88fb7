"""Measuring models: tasks, a runner with resumable records, metrics and statistics. Knows models as `Answerer`s."""

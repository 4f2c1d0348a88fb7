"""Engines that turn prompts into texts, behind one protocol. A run may use several (generator, verifiers)."""

from vidweave.engines.protocol import Completion, Engine, Request, Sampling
from vidweave.engines.scripted import ScriptedEngine

__all__ = ["Completion", "Engine", "Request", "Sampling", "ScriptedEngine"]

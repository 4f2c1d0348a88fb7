"""Engines: whatever turns prompts into texts, behind one protocol. A run may use several (generator, verifiers)."""

from vidweave.contra4.engines.protocol import Completion, Engine, Request, Sampling
from vidweave.contra4.engines.scripted import ScriptedEngine

__all__ = ["Completion", "Engine", "Request", "Sampling", "ScriptedEngine"]

"""What objects of the toy world can be like, as named values; every list is short, and every name is one word."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = [
    "COLOURS",
    "CONSISTENCIES",
    "DISTANCES",
    "EVENT_MOTIONS",
    "FIRMNESSES",
    "MOTIONS",
    "PITCHES",
    "RELIEFS",
    "SENSES",
    "SHAPES",
    "SIZES",
    "SPINS",
    "TEMPERATURES",
    "TEXTURES",
    "VALUES",
    "WORLD_PX",
]

WORLD_PX = 48
"""The world is a square of this many units; one unit is one pixel at the standard picture size."""

SHAPES = ("circle", "square", "triangle", "cross", "ring")

COLOURS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (222, 45, 40),
        "green": (50, 175, 70),
        "blue": (55, 95, 235),
        "yellow": (240, 215, 50),
        "purple": (185, 70, 205),
        "white": (240, 240, 240),
    }
)

SIZES: Mapping[str, int] = MappingProxyType({"small": 10, "big": 16})
"""Diameter in world units."""

TEXTURES = ("plain", "striped", "dotted", "checked")
"""Fine detail, two pixels wide at the standard size."""

SPINS: Mapping[str, float] = MappingProxyType({"left": -0.15, "right": 0.15})
"""Turning of the surface in radians per frame, seen in the flow alone."""

DISTANCES: Mapping[str, tuple[float, float]] = MappingProxyType({"near": (2.0, 3.5), "far": (5.5, 7.0)})
"""Range in metres, seen in the depth alone: neither size nor overlap tells it."""

TEMPERATURES: Mapping[str, float] = MappingProxyType({"cold": 5.0, "warm": 30.0, "hot": 55.0})
"""Degrees Celsius, seen in the thermal picture alone."""

RELIEFS = ("bulging", "dented")  # seen in the normals alone
FIRMNESSES = ("hard", "soft")  # felt by touch alone
CONSISTENCIES = ("solid", "hollow")  # seen in the point cloud alone

PITCHES: Mapping[str, float] = MappingProxyType({"low": 300.0, "middle": 750.0, "high": 1800.0})
"""Hertz, heard alone."""

MOTIONS = ("left", "right", "up", "down", "still")
EVENT_MOTIONS = ("left", "right", "up", "down", "shake", "bounce", "loop")
"""Kinds of motion in short clips, and of the events of long ones."""

SENSES: Mapping[str, str] = MappingProxyType(
    {
        "depth": "distance",
        "flow": "spin",
        "thermal": "temperature",
        "normals": "relief",
        "touch": "firmness",
        "point_cloud": "consistency",
    }
)
"""Modality → the attribute of objects that it alone tells (sound tells the pitch and number of beeps)."""

VALUES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "distance": tuple(DISTANCES),
        "spin": tuple(SPINS),
        "temperature": tuple(TEMPERATURES),
        "relief": RELIEFS,
        "firmness": FIRMNESSES,
        "consistency": CONSISTENCIES,
        "pitch": tuple(PITCHES),
    }
)
"""Attribute that no eye sees → its values."""

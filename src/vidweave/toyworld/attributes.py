"""Attributes of the objects in the toy world as named values; every list is short, and every name is one word."""

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
    "MODALITY_ATTRIBUTES",
    "SHAPES",
    "SIZES",
    "SPINS",
    "TEMPERATURES",
    "TEXTURES",
    "VALUES",
    "WORLD_PX",
]

WORLD_PX = 48
"""Side of the world in world units; one unit is one pixel at the standard frame size."""

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
"""Rotation of the surface in radians per frame, visible only in the flow."""

DISTANCES: Mapping[str, tuple[float, float]] = MappingProxyType({"near": (2.0, 3.5), "far": (5.5, 7.0)})
"""Range in meters, visible only in the depth: neither size nor overlap reveals it."""

TEMPERATURES: Mapping[str, float] = MappingProxyType({"cold": 5.0, "warm": 30.0, "hot": 55.0})
"""Degrees Celsius, visible only in the thermal frames."""

RELIEFS = ("bulging", "dented")  # visible only in the normals
FIRMNESSES = ("hard", "soft")  # visible only to touch
CONSISTENCIES = ("solid", "hollow")  # visible only in the point cloud

PITCHES: Mapping[str, float] = MappingProxyType({"low": 300.0, "middle": 750.0, "high": 1800.0})
"""Hertz, audible only."""

MOTIONS = ("left", "right", "up", "down", "still")
EVENT_MOTIONS = ("left", "right", "up", "down", "shake", "bounce", "loop")
"""Kinds of motion in short clips, and of the events of long ones."""

MODALITY_ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {
        "depth": "distance",
        "flow": "spin",
        "thermal": "temperature",
        "normals": "relief",
        "touch": "firmness",
        "point_cloud": "consistency",
    }
)
"""Modality → the object attribute that only this modality shows (audio shows the pitch and number of beeps)."""

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
"""Attribute that RGB does not show → its values."""

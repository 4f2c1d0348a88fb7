"""Scenes: the objects of a clip, their attributes, motion and times.

A scene is a plain value, deterministic in its seed. Renderers, labels, questions and captions all read it.
"""

# Axes: T frames; positions are (x, y) in world units, y points down

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vidweave.errors import ConfigError
from vidweave.toyworld import attributes as a

__all__ = ["LONG_FRAMES", "SHORT_FRAMES", "Length", "ToyObject", "ToyScene", "sample_scene"]

Length = Literal["short", "long"]
SHORT_FRAMES = 16
LONG_FRAMES = 300
FPS = 8.0

_DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}
_TRAVEL = {"slow": 6.0, "fast": 12.0}  # world units over a short clip
_EVENT_STEP, _EVENT_TRAVEL = 2.0, 24.0  # world units per frame, the same for every kind of motion; units per visit
_SWING = 3  # frames from one end of a shake or bounce to the other
_LOOP_RADIUS = 4.0


@dataclass(frozen=True, kw_only=True)
class ToyObject:
    """One object.

    Attributes:
        shape, colour, size, texture: Appearance; names from `attributes`.
        spin, temperature, relief, firmness, consistency, pitch: Attributes that only other modalities show, never RGB.
        distance: `near` or `far`; `distance_metres` is the exact range.
        motion: Kind of motion. `speed` is `slow` or `fast` in short clips, `steady` in long ones.
        step: World units per frame along the path.
        centre: (x, y) of the center of the path.
        path_start, path_frames: First frame of the path and its length in frames.
        start_frame, end_frame: It is present in start_frame <= frame < end_frame.
        change: `stays`, `appears` or `vanishes` (short clips); `visits` (long clips).
        beeps: Frames at which it beeps.
    """

    shape: str
    colour: str
    size: str
    texture: str
    spin: str
    temperature: str
    relief: str
    firmness: str
    consistency: str
    pitch: str
    distance: str
    distance_metres: float
    motion: str
    speed: str
    step: float
    centre: tuple[float, float]
    path_start: int
    path_frames: int
    start_frame: int
    end_frame: int
    change: str
    beeps: tuple[int, ...] = ()

    @property
    def diameter(self) -> int:
        """Diameter in world units."""
        return a.SIZES[self.size]

    @property
    def quarter(self) -> int:
        """Quarter of the center of its path: 0 top left, 1 top right, 2 bottom left, 3 bottom right."""
        return 2 * (self.centre[1] >= a.WORLD_PX / 2) + (self.centre[0] >= a.WORLD_PX / 2)

    def is_there(self, frames: np.ndarray) -> np.ndarray:
        """Whether the object is present at the given frames, (T,) bool."""
        return (frames >= self.start_frame) & (frames < self.end_frame)

    def positions(self, frames: np.ndarray) -> np.ndarray:
        """Center (T, 2) at the given frames, which may be fractional."""
        t = np.asarray(frames, dtype=np.float64) - self.path_start
        return np.asarray(self.centre) + self._offset(t)

    def _offset(self, t: np.ndarray) -> np.ndarray:
        if self.motion == "loop":
            angle = t * (self.step / _LOOP_RADIUS)
            return _LOOP_RADIUS * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        if self.motion in ("shake", "bounce"):
            phase = np.mod(t, 2 * _SWING)
            swing = self.step * (np.minimum(phase, 2 * _SWING - phase) - _SWING / 2)
            return swing[:, None] * np.array((1, 0) if self.motion == "shake" else (0, 1))
        along = self.step * (t - (self.path_frames - 1) / 2)
        return along[:, None] * np.array(_DIRECTIONS[self.motion])


@dataclass(frozen=True, kw_only=True)
class ToyScene:
    """Full description of a clip.

    Attributes:
        seed: Seed of the scene.
        length: `short` or `long`.
        num_frames, fps: Extent in time.
        objects: In drawing order, which is independent of their distance.
        counted_shape: Long clips: the shape whose visits are counted (1 to 4 of them, uniformly).
    """

    seed: int
    length: Length
    num_frames: int
    fps: float
    objects: tuple[ToyObject, ...]
    counted_shape: str | None = None

    @property
    def duration_seconds(self) -> float:
        return self.num_frames / self.fps

    @property
    def beeper(self) -> ToyObject | None:
        """The object that beeps; at most one does in a short clip."""
        return next((o for o in self.objects if o.beeps), None)


def sample_scene(
    seed: int,
    *,
    length: Length = "short",
    num_frames: int | None = None,
    event_frames: int = 6,
    fps: float = FPS,
) -> ToyScene:
    """Sample the scene of a seed.

    A short one has 1 to 4 objects of distinct shapes and colors, each in a quarter of the frame. A long one has 5
    or 6 visits, one after the other, by objects of distinct colors and distinct kinds of motion, equal in size,
    speed and length: every visit changes the same number of pixels.

    Args:
        seed: Any integer >= 0; `splits` defines the training seeds.
        length: `short` or `long`.
        num_frames: Default 16 (short) or 300 (long).
        event_frames: Length of a visit in a long clip.
        fps: Frames per second.

    Raises:
        ConfigError: an unknown length, or too few frames for its events.
    """
    if length == "short":
        return _short_scene(seed, num_frames or SHORT_FRAMES, fps)
    if length == "long":
        return _long_scene(seed, num_frames or LONG_FRAMES, event_frames, fps)
    raise ConfigError(f"length must be 'short' or 'long', got {length!r}")


def _short_scene(seed: int, num_frames: int, fps: float) -> ToyScene:
    if num_frames < 12:
        raise ConfigError(f"a short clip needs at least 12 frames for its changes to be seen, got {num_frames}")
    rng = np.random.default_rng([seed, 1])
    count = int(rng.integers(1, 5))
    shapes, colours = _distinct(rng, a.SHAPES, count), _distinct(rng, tuple(a.COLOURS), count)
    cells = rng.permutation(4)[:count]
    beeper, num_beeps = int(rng.integers(count)), int(rng.integers(1, 5))
    objects = []
    for i in range(count):
        change = ("stays", "stays", "appears", "vanishes")[rng.integers(4)]
        middle = int(rng.integers(num_frames * 3 // 8, num_frames * 5 // 8 + 1))
        start, end = {"stays": (0, num_frames), "appears": (middle, num_frames), "vanishes": (0, middle)}[change]
        speed = ("slow", "fast")[rng.integers(2)]
        centre = (cells[i] % 2 * 24 + 12 + rng.integers(-1, 2), cells[i] // 2 * 24 + 12 + rng.integers(-1, 2))
        objects.append(
            ToyObject(
                shape=shapes[i],
                colour=colours[i],
                size=_one(rng, a.SIZES),
                motion=_one(rng, a.MOTIONS),
                speed=speed,
                step=_TRAVEL[speed] / (num_frames - 1),
                centre=(float(centre[0]), float(centre[1])),
                path_start=0,
                path_frames=num_frames,
                start_frame=start,
                end_frame=end,
                change=change,
                beeps=_beeps(rng, start, end, num_beeps) if i == beeper else (),
                **_hidden(rng),
            )
        )
    return ToyScene(seed=seed, length="short", num_frames=num_frames, fps=fps, objects=tuple(objects))


def _long_scene(seed: int, num_frames: int, event_frames: int, fps: float) -> ToyScene:
    rng = np.random.default_rng([seed, 2])
    count = int(rng.integers(5, 7))
    if event_frames < 4 or num_frames < 6 * (event_frames + 2):
        raise ConfigError(
            f"a long clip needs at least 4 frames per visit and time for 6 visits, got {num_frames} frames and "
            f"{event_frames} per visit; give at least {6 * (max(event_frames, 4) + 2)} frames"
        )
    counted, shapes = _event_shapes(rng, count)
    colours, motions = _distinct(rng, tuple(a.COLOURS), count), _distinct(rng, a.EVENT_MOTIONS, count)
    size = _one(rng, a.SIZES)
    step = min(_EVENT_STEP, _EVENT_TRAVEL / (event_frames - 1))
    margin = a.SIZES[size] / 2 + step * max(event_frames - 1, _SWING) / 2 + 1  # keeps every path inside the frame
    objects = []
    for i, start in enumerate(_event_starts(rng, count, num_frames, event_frames)):
        x, y = rng.uniform(margin, a.WORLD_PX - margin, 2)
        objects.append(
            ToyObject(
                shape=shapes[i],
                colour=colours[i],
                size=size,
                motion=motions[i],
                speed="steady",
                step=step,
                centre=(round(x), round(y)),
                path_start=start,
                path_frames=event_frames,
                start_frame=start,
                end_frame=start + event_frames,
                change="visits",
                beeps=(start,),
                **_hidden(rng),
            )
        )
    return ToyScene(
        seed=seed, length="long", num_frames=num_frames, fps=fps, objects=tuple(objects), counted_shape=counted
    )


def _event_shapes(rng: np.random.Generator, count: int) -> tuple[str, list[str]]:
    """Draw one shape that comes 1 to 4 times with equal probability, and others in the remaining visits, shuffled."""
    counted, *others = _distinct(rng, a.SHAPES, len(a.SHAPES))
    times = int(rng.integers(1, 5))
    shapes = [counted] * times + [others[i] for i in rng.integers(len(others), size=count - times)]
    return counted, [shapes[i] for i in rng.permutation(count)]


def _event_starts(rng: np.random.Generator, count: int, num_frames: int, event_frames: int) -> list[int]:
    """Draw sorted first frames with at least two quiet frames after each visit."""
    spare = num_frames - count * (event_frames + 2)
    gaps = np.sort(rng.integers(0, spare + 1, size=count))
    return [int(gap) + i * (event_frames + 2) for i, gap in enumerate(gaps)]


def _beeps(rng: np.random.Generator, start: int, end: int, count: int) -> tuple[int, ...]:
    """Draw `count` frames of start..end that are at least two apart if possible; always exactly `count`."""
    slots = np.arange(start, end - 1, 2) if (end - start) // 2 >= count else np.arange(start, end)
    return tuple(int(f) for f in np.sort(rng.permutation(slots)[:count]))


def _hidden(rng: np.random.Generator) -> dict:
    """Draw attributes that general question types never ask about: fine detail, and facts of other modalities."""
    distance = _one(rng, a.DISTANCES)
    return {
        "texture": _one(rng, a.TEXTURES),
        "spin": _one(rng, a.SPINS),
        "temperature": _one(rng, a.TEMPERATURES),
        "relief": _one(rng, a.RELIEFS),
        "firmness": _one(rng, a.FIRMNESSES),
        "consistency": _one(rng, a.CONSISTENCIES),
        "pitch": _one(rng, a.PITCHES),
        "distance": distance,
        "distance_metres": float(rng.uniform(*a.DISTANCES[distance])),
    }


def _one(rng: np.random.Generator, names) -> str:
    return tuple(names)[rng.integers(len(names))]


def _distinct(rng: np.random.Generator, names: tuple[str, ...], count: int) -> list[str]:
    return [names[i] for i in rng.permutation(len(names))[:count]]

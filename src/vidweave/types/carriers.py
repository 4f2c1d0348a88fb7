"""How one file adds a kind of media: a carrier that says how it is read, and a spec that says how encoders take it.

Frames, audio and points have readers of their own, since they come from many formats. Anything that is an array of numbers
needs none of that: a subclass of `ArrayCarrier`, one of `CarrierSpec`, a line in `registry.CARRIERS`, and one in
`registry.MODALITIES` for each modality. `vidweave.types.series` is the example.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from vidweave.types.summary import Summarized

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ArrayCarrier", "CarrierSpec"]


class ArrayCarrier(Summarized):
    """Media of one scene that an `.npy` file holds whole.

    Attributes:
        notes: What the user should know about it.
    """

    notes: tuple[str, ...] = ()

    @classmethod
    def from_array(cls, values: np.ndarray, rate: float | None) -> Self:
        """From a file's array; `rate` is the clip's `fps`, or that of the file's `NAME.npy.json`."""
        raise NotImplementedError(f"{cls.__name__} has no from_array")

    def cut(self, start_seconds: float | None, end_seconds: float | None) -> Self:
        """What lies in a span; all of it where there is no time."""
        raise NotImplementedError(f"{type(self).__name__} has no cut")

    def blank(self) -> Self:
        """As much of nothing: what a control shows instead."""
        raise NotImplementedError(f"{type(self).__name__} has no blank")

    def parts(self) -> dict[str, np.ndarray]:
        """All that is in it, by name, for the key of cached features."""
        raise NotImplementedError(f"{type(self).__name__} has no parts")


class CarrierSpec:
    """How an encoder takes an `ArrayCarrier`; a frozen dataclass with a `kind`.

    Attributes:
        carrier: Name in `registry.CARRIERS`.
    """

    carrier: ClassVar[str]

    def payload(self) -> tuple[int, ...]:
        """Shape of one time step of what `apply` makes."""
        raise NotImplementedError(f"{type(self).__name__} has no payload")

    def apply(self, carrier: ArrayCarrier) -> tuple[np.ndarray, np.ndarray]:
        """Values (T, *payload) float32, and start and end of each time step (T, 2) in seconds.

        Raises:
            ShapeError: a carrier that does not fit; the message says what was expected.
        """
        raise NotImplementedError(f"{type(self).__name__} has no apply")

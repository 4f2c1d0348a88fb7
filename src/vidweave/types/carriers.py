"""Base classes for new kinds of media, each in one file: a carrier (how it is read) and a spec (how it is
preprocessed).

Frames, audio and points have their own readers, since they come from many formats. Any other array of numbers needs
only a subclass of `ArrayCarrier`, one of `CarrierSpec`, a line in `registry.CARRIERS`, and one in `registry.MODALITIES`
for each modality. `vidweave.types.series` is an example.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from vidweave.types.summary import Summarized

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ArrayCarrier", "CarrierSpec"]


class ArrayCarrier(Summarized):
    """Media of one scene, stored in a single `.npy` file.

    Attributes:
        notes: Notes for the user.
    """

    notes: tuple[str, ...] = ()

    @classmethod
    def from_array(cls, values: np.ndarray, rate: float | None) -> Self:
        """Create from a file's array; `rate` is the clip's `fps`, or that of the file's `NAME.npy.json`."""
        raise NotImplementedError(f"{cls.__name__} has no from_array")

    def cut(self, start_seconds: float | None, end_seconds: float | None) -> Self:
        """Cut out a span; return everything if there is no time axis."""
        raise NotImplementedError(f"{type(self).__name__} has no cut")

    def blank(self) -> Self:
        """Return blank media of the same size, for controls."""
        raise NotImplementedError(f"{type(self).__name__} has no blank")

    def parts(self) -> dict[str, np.ndarray]:
        """Return all contents by name, for the key of cached features."""
        raise NotImplementedError(f"{type(self).__name__} has no parts")


class CarrierSpec:
    """Preprocessing of an `ArrayCarrier` for an encoder; a frozen dataclass with a `kind`.

    Attributes:
        carrier: Name in `registry.CARRIERS`.
    """

    carrier: ClassVar[str]

    def payload(self) -> tuple[int, ...]:
        """Shape of one time step of the result of `apply`."""
        raise NotImplementedError(f"{type(self).__name__} has no payload")

    def apply(self, carrier: ArrayCarrier) -> tuple[np.ndarray, np.ndarray]:
        """Convert to values (T, *payload) float32, and start and end of each time step (T, 2) in seconds.

        Raises:
            ShapeError: a carrier that does not match; the message states what was expected.
        """
        raise NotImplementedError(f"{type(self).__name__} has no apply")

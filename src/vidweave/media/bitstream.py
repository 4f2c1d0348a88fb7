"""Parse the first bytes of packets: hidden VP8 and VP9 frames, and H.264 packets with one field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["FieldReader", "Slice", "is_hidden"]

_HEADER_BYTES = 48  # more than the slice header fields up to bottom_field_flag can take
_START_CODE = re.compile(rb"\x00\x00\x01")
_HIGH_PROFILES = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
_SLICES, _SPS, _PPS = (1, 2, 5), 7, 8
_INTRA = (2, 4)  # slice types I and SI, modulo 5


def is_hidden(codec: str, packet: Any) -> bool:
    """Return whether the packet only contains a reference frame that is decoded but never displayed."""
    if codec == "vp8":  # bit 4 of the frame tag: show_frame
        return not memoryview(packet)[0] & 0x10
    if codec != "vp9":
        return False
    data = memoryview(packet)
    if data[-1] & 0xE0 == 0xC0:  # a superframe: hidden frames, then the displayed one
        return False
    shift = 1 if data[0] & 0x30 == 0x30 else 0  # profile 3 has a reserved bit in front
    shows_existing, shows_this = data[0] << shift & 0x08, data[0] << shift & 0x02
    return not (shows_existing or shows_this)


@dataclass(frozen=True)
class Slice:
    """Facts from a packet's slice headers.

    Attributes:
        parity: 0 for a top field, 1 for a bottom field, None for a whole frame (or both fields in one packet).
        frame_num: H.264's counter of reference frames; equal for the two fields of a frame.
        is_intra: Whether the first slice is predicted from no other frame.
    """

    parity: int | None
    frame_num: int
    is_intra: bool


class FieldReader:
    """Reads the slice headers of an H.264 stream that may code fields (`frame_mbs_only_flag` is 0)."""

    def __init__(self, extradata: bytes) -> None:
        self._length_bytes = (extradata[4] & 3) + 1 if extradata[:1] == b"\x01" and len(extradata) > 6 else 0
        self._sps: dict[int, _Sps] = {}
        self._sps_of_pps: dict[int, int] = {}
        for unit in _avcc_units(extradata) if self._length_bytes else _annexb_units(extradata):
            self._add_parameters(unit)

    @classmethod
    def of(cls, codec: str, extradata: bytes | None) -> FieldReader | None:
        """Return a reader, or None for streams that cannot contain fields (nearly all)."""
        if codec != "h264" or not extradata:
            return None
        try:
            reader = cls(extradata)
        except (EOFError, IndexError):
            return None
        return reader if any(sps.has_fields for sps in reader._sps.values()) else None

    def read(self, packet: Any) -> Slice | None:
        """Return facts about the packet; None if they cannot be read."""
        try:
            slices = [s for s in map(self._slice, self._units(bytes(packet))) if s is not None]
        except (EOFError, IndexError):
            return None
        if not slices:
            return None
        parities = {s.parity for s in slices}
        parity = slices[0].parity if len(parities) == 1 else None
        return Slice(parity, slices[0].frame_num, slices[0].is_intra)

    def _units(self, data: bytes) -> Iterator[bytes]:
        return _prefixed_units(data, self._length_bytes) if self._length_bytes else _annexb_units(data)

    def _add_parameters(self, unit: bytes) -> None:
        kind = unit[0] & 31 if unit else 0
        if kind == _SPS:
            sps = _parse_sps(_Bits(unit[1:]))
            self._sps[sps.number] = sps
        elif kind == _PPS:
            bits = _Bits(unit[1:])
            self._sps_of_pps[bits.unsigned()] = bits.unsigned()

    def _slice(self, unit: bytes) -> Slice | None:
        kind = unit[0] & 31 if unit else 0
        if kind not in _SLICES:
            return None
        bits = _Bits(unit[1:_HEADER_BYTES])
        bits.unsigned()  # first_mb_in_slice
        slice_type, pps = bits.unsigned(), bits.unsigned()
        sps = self._sps.get(self._sps_of_pps.get(pps, -1)) or next(iter(self._sps.values()))
        if sps.has_planes:
            bits.take(2)
        frame_num = bits.take(sps.frame_num_bits)
        is_field = sps.has_fields and bits.take(1)
        return Slice(bits.take(1) if is_field else None, frame_num, slice_type % 5 in _INTRA)


@dataclass(frozen=True)
class _Sps:
    """Fields of a sequence parameter set that slice headers depend on."""

    number: int
    frame_num_bits: int
    has_fields: bool
    has_planes: bool


def _parse_sps(bits: _Bits) -> _Sps:
    profile = bits.take(8)
    bits.take(16)  # constraint flags, level
    number, has_planes = bits.unsigned(), False
    if profile in _HIGH_PROFILES:
        chroma = bits.unsigned()
        has_planes = chroma == 3 and bool(bits.take(1))
        bits.skip_numbers(2)  # bit depths
        bits.take(1)  # lossless bypass
        if bits.take(1):
            for i in range(12 if chroma == 3 else 8):
                if bits.take(1):
                    _skip_scaling_list(bits, 16 if i < 6 else 64)
    frame_num_bits = bits.unsigned() + 4
    order = bits.unsigned()
    if order == 0:
        bits.unsigned()
    elif order == 1:
        bits.take(1)
        bits.skip_numbers(2)
        bits.skip_numbers(bits.unsigned())
    bits.unsigned()  # reference frames
    bits.take(1)  # gaps in frame_num
    bits.skip_numbers(2)  # width, height
    return _Sps(number, frame_num_bits, not bits.take(1), has_planes)


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


class _Bits:
    """Bit reader of a unit, most significant bit first; emulation prevention bytes are removed."""

    def __init__(self, data: bytes) -> None:
        data = data.replace(b"\x00\x00\x03", b"\x00\x00")
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise EOFError("the unit ends early")
        return self._value >> self._left & ((1 << count) - 1)

    def unsigned(self) -> int:
        """Read an Exp-Golomb number."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def skip_numbers(self, count: int) -> None:
        """Skip Exp-Golomb numbers, signed or not."""
        for _ in range(count):
            self.unsigned()

    def signed(self) -> int:
        number = self.unsigned()
        return (number + 1) // 2 if number % 2 else -(number // 2)


def _annexb_units(data: bytes) -> Iterator[bytes]:
    starts = [match.end() for match in _START_CODE.finditer(data)]
    for start, stop in zip(starts, [*starts[1:], len(data) + 3], strict=False):
        yield data[start : stop - 3]


def _prefixed_units(data: bytes, length_bytes: int) -> Iterator[bytes]:
    place = 0
    while place + length_bytes < len(data):
        size = int.from_bytes(data[place : place + length_bytes], "big")
        place += length_bytes
        yield data[place : place + size]
        place += size


def _avcc_units(data: bytes) -> Iterator[bytes]:
    """Yield parameter sets of an MP4 decoder configuration record: SPS, then PPS, each after its 16-bit length."""
    place = 5
    for mask in (31, 255):
        count = data[place] & mask
        place += 1
        for _ in range(count):
            size = int.from_bytes(data[place : place + 2], "big")
            yield data[place + 2 : place + 2 + size]
            place += 2 + size

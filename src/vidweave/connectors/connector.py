"""The connector: ports feed streams into trunks, trunks compute, fusion joins the results. State is a value."""

# Axes: P (item, scene) pairs, R rows of a stream, T segments, N tokens, K keys, Q queries, D language-model width

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vidweave.connectors.absent import absent_pairs, drop_empty, fill_absent
from vidweave.connectors.fusion import NoFusionConfig
from vidweave.connectors.memory import (
    MemoryState,
    evaluate_pending,
    push_segments,
    stack_ports,
    start_memory,
    tell_memory,
)
from vidweave.connectors.ports import Port, PortConfig
from vidweave.connectors.segments import append, compact, merge_seconds, place, real_segments, whole_span
from vidweave.connectors.state import ConnectorState
from vidweave.connectors.trunk import Request, Trunk, adapter_rows, run_requests, text_rows
from vidweave.errors import ConfigError, ShapeError, UnknownNameError
from vidweave.nn.bank import UndoLog
from vidweave.nn.numbers import floating_dtype
from vidweave.registry import FUSIONS, TRUNKS
from vidweave.types import (
    Blocks,
    ComponentConfig,
    Features,
    HasMemory,
    KeepsMemory,
    MergesTime,
    PanelSource,
    RoutesExperts,
    SeesClips,
    TakesAdapters,
    TextSpec,
    TextTokens,
    TrunkInput,
    component_from_dict,
    text_spec_of,
)

__all__ = ["Connector", "ConnectorConfig"]


@dataclass(frozen=True, kw_only=True)
class ConnectorConfig(ComponentConfig):
    """Trunks by name, one port per stream (named like the stream, in the order of the prompt), and a fusion.

    Attributes:
        trunks: Configurations of kinds in `registry.TRUNKS`.
        ports: Each names its trunk.
        fusion: A configuration of a kind in `registry.FUSIONS`.
        output_width: D of the language model.
    """

    kind: ClassVar[str] = "connector"
    trunks: dict[str, Any]
    ports: dict[str, PortConfig]
    output_width: int
    fusion: Any = field(default_factory=NoFusionConfig)

    def __post_init__(self) -> None:
        trunks = {name: component_from_dict(TRUNKS, trunk) for name, trunk in self.trunks.items()}
        object.__setattr__(self, "trunks", trunks)
        object.__setattr__(self, "fusion", component_from_dict(FUSIONS, self.fusion))
        if self.output_width < 1:
            raise ConfigError(f"output_width must be at least 1, got {self.output_width}")
        if not self.ports:
            raise ConfigError("a connector needs at least one port")
        for port in self.ports.values():
            if port.trunk not in trunks:
                raise UnknownNameError("trunk", port.trunk, trunks)
        for name in trunks:
            if all(port.trunk != name for port in self.ports.values()):
                raise ConfigError(f"trunk {name!r} has no port; remove it, or add a port for a stream")

    def build(self) -> Connector:
        """Build the connector; raises ConfigError when a port does not fit its trunk."""
        trunks = {name: config.build() for name, config in self.trunks.items()}
        for name, trunk in trunks.items():
            _check_facts(name, self.trunks[name], trunk)
        ports = {name: port.build(name, trunks[port.trunk], self.output_width) for name, port in self.ports.items()}
        return Connector(trunks, ports, self.fusion.build(tuple(ports), self.output_width))


class Connector(nn.Module):
    """Features of all streams → named blocks for the prompt.

    State-dict roots: `trunks.<name>`, `ports.<stream>`, `fusion`.
    """

    def __init__(self, trunks: Mapping[str, Trunk], ports: Mapping[str, Port], fusion: nn.Module) -> None:
        super().__init__()
        self.trunks = nn.ModuleDict(trunks)
        self.ports = nn.ModuleDict(ports)
        self.fusion = fusion
        for name, trunk in trunks.items():
            if any(port.adapter is not None for port in self._ports_of(name).values()):
                assert isinstance(trunk, TakesAdapters)  # else a port has refused its adapter
                trunk.attach([port.adapter for port in ports.values()])
            if isinstance(trunk, RoutesExperts):
                trunk.attach_routers([port.router for port in ports.values()])
            counts = {p.query_tokens.shape[1] for p in self._ports_of(name).values() if p.query_tokens is not None}
            if isinstance(trunk, KeepsMemory) and len(counts) != 1:
                raise ConfigError(f"ports of trunk {name!r} share its memory and need equal query counts, got {counts}")

    @property
    def float32_instead_of(self) -> tuple[torch.dtype, ...]:
        """Dtypes that the whole connector is not loaded in: those of its trunks, since their outputs meet in the fusion."""
        return tuple({dtype for trunk in self._trunks().values() for dtype in trunk.float32_instead_of})

    @property
    def block_names(self) -> tuple[str, ...]:
        """Names of the blocks that `read` returns."""
        return self.fusion.block_names  # type: ignore[return-value]

    @property
    def text_spec(self) -> TextSpec | None:
        """How the text for the trunks is tokenized; None when no trunk reads text."""
        specs = [spec for trunk in self._trunks().values() if (spec := text_spec_of(trunk)) is not None]
        if any(spec != specs[0] for spec in specs):
            raise ConfigError(f"trunks of one connector must read the same text, got {specs}")
        return specs[0] if specs else None

    @property
    def remembers_text(self) -> bool:
        """Whether a state depends on the text that it began with, so that another text is answered approximately."""
        trunks = self._trunks().values()
        return any(t.remembers_text if isinstance(t, KeepsMemory) else text_spec_of(t) is not None for t in trunks)

    def forward(
        self, features: Mapping[str, Features], item: Tensor, scene: Tensor, text: TextTokens | None = None
    ) -> tuple[dict[str, Blocks], dict[str, Any]]:
        """Process a whole clip at once: begin, push, read."""
        return self.read(self.push(self.begin(item, scene, text), features))

    def begin(self, item: Tensor, scene: Tensor, text: TextTokens | None = None) -> ConnectorState:
        """Create the empty state.

        Args:
            item, scene: (P,) pairs that will be read; rows of blocks come in this order.
            text: One row per item, for trunks that read text.

        Raises:
            ShapeError: a pair twice, or an item beyond the rows of the text.
            ConfigError: a trunk reads text and none is given.
        """
        if item.shape != scene.shape or item.ndim != 1:
            raise ShapeError(f"item and scene must be (P,), got {tuple(item.shape)} and {tuple(scene.shape)}")
        pairs = list(zip(item.tolist(), scene.tolist(), strict=True))
        if len(set(pairs)) != len(pairs):
            raise ShapeError(f"(item, scene) pairs repeat: {pairs}")
        if text is not None and pairs and max(pairs)[0] >= len(text.ids):
            raise ShapeError(f"item {max(pairs)[0]} has no text: there are {len(text.ids)} rows of text")
        for trunk in self._trunks().values():
            text_rows(trunk, text, item)
        return ConnectorState(item=item, scene=scene, text=text)

    def push(
        self, state: ConnectorState, features: Mapping[str, Features], undo_log: UndoLog | None = None
    ) -> ConnectorState:
        """Return a new state with `features` added, later in time than all before; the old state stays valid.

        With an `undo_log` the old state is consumed instead, unless the block of the undo log ends with an exception. Streams
        use this: otherwise they would copy all their memory at each frame.

        Raises:
            UnknownNameError: a stream without a port.
            ShapeError: rows, widths or numbers of segments that do not fit; the message names the stream.
        """
        for name in features:
            if name not in self.ports:
                raise UnknownNameError("stream", name, self.ports)
        seen = {n: compact(place(f, state.item, state.scene, n)) for n, f in features.items()}
        return replace(
            state,
            features={**state.features, **self._push_clips(state, seen)},
            blocks={**state.blocks, **self._push_segments(state, seen)},
            memories={**state.memories, **self._push_memories(state, seen, undo_log)},
        )

    def read(self, state: ConnectorState) -> tuple[dict[str, Blocks], dict[str, Any]]:
        """Return named blocks, a row for each pair that has tokens, and information for the Trace; the state is unchanged.

        Raises:
            ModalityError: a required stream is missing for an (item, scene).
        """
        ports = self._ports()
        clips = {n: self._keys(n, f, torch.zeros_like(state.item)) for n, f in state.features.items()}
        clips = {n: f if isinstance(self._trunk(ports[n]), SeesClips) else _as_one_segment(f) for n, f in clips.items()}
        blocks = {**state.blocks, **self._ask(clips, state.text), **self._read_memories(state)}
        blocks = {name: blocks[name] if name in blocks else self._nothing(port, state) for name, port in ports.items()}
        absent = {name: _pairs(block, absent_pairs(block)) for name, block in blocks.items()}
        one_segment = frozenset(n for n, p in ports.items() if self._is_one_segment(p))
        fused, info = self.fusion(fill_absent(blocks, ports, one_segment))
        blocks = {name: drop_empty(block) for name, block in fused.items()}
        if state.memories and not torch.is_grad_enabled():
            info = {"memory": PanelSource(partial(self._tell_memories, state)), **info}
        return blocks, {"absent": {name: pairs for name, pairs in absent.items() if pairs}, **info}

    def with_text(self, state: ConnectorState, text: TextTokens) -> ConnectorState:
        """Return the state for another text, given later: memories are rebuilt from what they kept (approximate).

        Raises:
            ConfigError: a trunk has already processed the old text and keeps nothing from which to start again.
        """
        state = replace(state, text=text)
        memories = dict(state.memories)
        for name, trunk in self._trunks().items():
            if text_spec_of(trunk) is None:
                continue
            if not isinstance(trunk, KeepsMemory):
                if any(n in state.blocks for n in self._ports_of(name)):
                    raise ConfigError(f"trunk {name!r} has read its segments with another text and keeps none of them")
            elif name in memories:
                memory = trunk.replay(self._memory_rows(name, state), memories[name].memory)
                memories[name] = replace(memories[name], memory=memory)
        return replace(state, memories=memories)

    # Segments and clips: trunks without a memory

    def _push_segments(self, state: ConnectorState, seen: Mapping[str, Features]) -> dict[str, Blocks]:
        ports = {n: p for n, p in self._ports().items() if n in seen and p.span == "group"}
        ports = {n: p for n, p in ports.items() if not isinstance(self._trunk(p), KeepsMemory)}
        first = {n: _count(state.blocks.get(n), state) for n in ports}
        asked = self._ask({n: self._keys(n, seen[n], first[n]) for n in ports}, state.text)
        return {name: append(state.blocks.get(name), block) for name, block in asked.items()}

    def _push_clips(self, state: ConnectorState, seen: Mapping[str, Features]) -> dict[str, Features]:
        clips = {n: append(state.features.get(n), f) for n, f in seen.items() if self._port(n).span == "clip"}
        for name, features in clips.items():  # check now: an error at reading would leave a state that cannot be read
            self._port(name).check(features.values.shape[-1], real_segments(features).sum(1))
        return clips

    def _keys(self, name: str, features: Features, first: Tensor) -> Features:
        """Keys of the trunk from `features`, whose rows had `first` (P,) segments before."""
        port = self._port(name)
        dtype = floating_dtype(self._trunk(port), floating_dtype(port, features.values.dtype))
        return replace(features, values=port.keys(features.values, features.mask, first, dtype))

    def _ask(self, keys: Mapping[str, Features], text: TextTokens | None) -> dict[str, Blocks]:
        """One pass per trunk over all real segments of all its ports."""
        blocks: dict[str, Blocks] = {}
        for trunk_name, trunk in self._trunks().items():
            names = [name for name in self._ports_of(trunk_name) if name in keys]
            if isinstance(trunk, SeesClips):
                blocks |= {name: self._over_time(name, trunk, keys[name]) for name in names}
                continue
            rows = {name: real_segments(keys[name]).flatten().nonzero().flatten() for name in names}
            asking = [name for name in names if len(rows[name])]
            requests = [self._request(name, keys[name], rows[name]) for name in asking]
            answers = dict(zip(asking, run_requests(trunk, requests, text), strict=True))
            blocks |= {n: self._blocks(n, keys[n], rows[n], answers.get(n)) for n in names}
        return blocks

    def _over_time(self, name: str, trunk: SeesClips, keys: Features) -> Blocks:
        hidden, mask = trunk.over_time(keys.values, keys.mask)
        seconds = merge_seconds(keys.seconds, trunk.time)
        return Blocks(self._port(name).project(hidden), mask, seconds, keys.item, keys.scene)

    def _request(self, name: str, keys: Features, rows: Tensor) -> Request:
        segments = keys.values.shape[1]
        in_turn = self._port(name).legacy_text_rows
        item = keys.item.repeat(segments) if in_turn else keys.item.repeat_interleave(segments)
        return Request(
            keys=_pick(keys.values.flatten(0, 1), rows),
            mask=_pick(keys.mask.flatten(0, 1), rows),
            item=_pick(item, rows),
            queries=self._port(name).queries(len(rows)),
            adapter=list(self.ports).index(name),
        )

    def _blocks(self, name: str, keys: Features, rows: Tensor, hidden: Tensor | None) -> Blocks:
        """Blocks of a port from its trunk's output (real segments, Q, H), which belongs at `rows` of (P * T)."""
        port = self._port(name)
        pairs, segments, num_keys = keys.mask.shape
        num_tokens = num_keys if port.num_tokens is None else port.num_tokens
        shape = (pairs * segments, num_tokens, port.output_width)
        tokens = keys.values.new_zeros(0, *shape[1:]) if hidden is None else port.project(hidden)
        values = tokens if len(rows) == shape[0] else tokens.new_zeros(shape).index_copy(0, rows, tokens)
        mask = keys.mask if port.query_tokens is None else real_segments(keys)[..., None].expand(-1, -1, num_tokens)
        return Blocks(values.unflatten(0, (pairs, segments)), mask, keys.seconds, keys.item, keys.scene)

    # Trunks with a memory

    def _push_memories(
        self, state: ConnectorState, seen: Mapping[str, Features], undo_log: UndoLog | None
    ) -> dict[str, MemoryState]:
        memories: dict[str, MemoryState] = {}
        for name, trunk in self._memory_trunks().items():
            ports = self._ports_of(name)
            if not any(port in seen for port in ports):
                continue
            rows = self._memory_rows(name, state)
            before = state.memories[name] if name in state.memories else start_memory(trunk, rows)
            first = dict(zip(ports, before.count.split(len(state)), strict=True))
            keys = {port: self._keys(port, seen[port], first[port]) for port in ports if port in seen}
            width = rows.keys.shape[-1]
            stacked = stack_ports([keys[p] if p in keys else _no_segments(state, width, keys) for p in ports])
            memories[name] = push_segments(trunk, rows, before, stacked, undo_log)
        return memories

    def _read_memories(self, state: ConnectorState) -> dict[str, Blocks]:
        blocks: dict[str, Blocks] = {}
        for name, memory in state.memories.items():
            size = len(state)
            parts = zip(self._ports_of(name).values(), memory.keys.split(size), strict=True)
            marked = replace(memory, keys=torch.cat([port.mark_last(keys) for port, keys in parts]))
            hidden = evaluate_pending(self._memory_trunks()[name], self._memory_rows(name, state), marked)
            parts = zip(hidden.split(size), memory.seconds.split(size), memory.count.split(size), strict=True)
            for (port_name, port), (part, seconds, count) in zip(self._ports_of(name).items(), parts, strict=True):
                values = port.project(part)[:, None]
                mask = (count > 0)[:, None, None].expand(-1, 1, values.shape[2])
                blocks[port_name] = Blocks(values, mask, seconds[:, None], state.item, state.scene)
        return blocks

    def _tell_memories(self, state: ConnectorState, item: int, full: bool) -> list[dict[str, Any]]:
        """Contents of an item's memories: one entry per port and scene that was pushed."""
        info, scenes = [], state.scene.tolist()
        pairs = (state.item == item).nonzero().flatten().tolist()
        for name, memory in state.memories.items():
            for number, port in enumerate(self._ports_of(name)):
                for pair in (p for p in pairs if int(memory.count[number * len(state) + p])):
                    facts = tell_memory(self._memory_trunks()[name], memory, number * len(state) + pair, full)
                    info.append({"stream": port, "scene": scenes[pair], **facts})
        return info

    def _memory_rows(self, name: str, state: ConnectorState) -> TrunkInput:
        """The inputs shared by all time steps of a trunk's rows; without keys (M, 0, C)."""
        trunk, ports = self._trunks()[name], self._ports_of(name)
        queries = torch.cat([q for port in ports.values() if (q := port.queries(len(state))) is not None])
        text, text_mask = text_rows(trunk, state.text, state.item.repeat(len(ports)))
        index = torch.tensor([list(self.ports).index(port) for port in ports], device=state.item.device)
        adapter = adapter_rows(trunk, index.repeat_interleave(len(state)))
        keys = queries.new_zeros(len(queries), 0, trunk.key_width)
        return TrunkInput(queries, keys, None, text, text_mask, adapter)

    def _nothing(self, port: Port, state: ConnectorState) -> Blocks:
        """The blocks of a stream that was never pushed: no segments."""
        empty = state.item.new_zeros
        dtype = floating_dtype(self, torch.get_default_dtype())
        trunk = self._trunk(port)
        per_step = trunk.num_tokens if isinstance(trunk, SeesClips) else None
        num_tokens = (per_step or 1) if port.num_tokens is None else port.num_tokens
        values = empty(len(state), 0, num_tokens, port.output_width, dtype=dtype)
        mask = empty(len(state), 0, num_tokens, dtype=torch.bool)
        return Blocks(values, mask, empty(len(state), 0, 2, dtype=torch.float32), state.item, state.scene)

    # Typed views of the module dictionaries

    def _trunks(self) -> dict[str, Trunk]:
        return dict(self.trunks.items())  # type: ignore[arg-type]

    def _memory_trunks(self) -> dict[str, KeepsMemory]:
        return {name: trunk for name, trunk in self._trunks().items() if isinstance(trunk, KeepsMemory)}

    def _ports(self) -> dict[str, Port]:
        return dict(self.ports.items())  # type: ignore[arg-type]

    def _port(self, name: str) -> Port:
        return self.ports[name]  # type: ignore[return-value]

    def _trunk(self, port: Port) -> Trunk:
        return self.trunks[port.trunk]  # type: ignore[return-value]

    def _is_one_segment(self, port: Port) -> bool:
        trunk = self._trunk(port)
        return isinstance(trunk, KeepsMemory) or (port.span == "clip" and not isinstance(trunk, SeesClips))

    def _ports_of(self, trunk: str) -> dict[str, Port]:
        return {name: port for name, port in self._ports().items() if port.trunk == trunk}


def _check_facts(name: str, config: Any, trunk: Trunk) -> None:
    """Prompts are planned from the configuration alone, so it must state what the trunk does."""
    facts = {
        "has_memory": (isinstance(config, HasMemory) and config.has_memory, isinstance(trunk, KeepsMemory)),
        "text_spec": (text_spec_of(config), text_spec_of(trunk)),
        "time": (
            config.time if isinstance(config, MergesTime) else None,
            trunk.time if isinstance(trunk, SeesClips) else None,
        ),
    }
    for fact, (planned, built) in facts.items():
        if planned != built:
            raise ConfigError(
                f"trunk {name!r} has {fact}={built}, but its configuration states {planned}; make them agree"
            )


def _count(blocks: Blocks | None, state: ConnectorState) -> Tensor:
    """(P,) number of segments seen so far."""
    return torch.zeros_like(state.item) if blocks is None else real_segments(blocks).sum(1)


def _pick(values: Tensor, rows: Tensor) -> Tensor:
    """`values` at ascending `rows`, without a copy when that is all of them."""
    return values if len(rows) == len(values) else values[rows]


def _as_one_segment(keys: Features) -> Features:
    """All segments of a row as one: (P, T, N, C) → (P, 1, T * N, C)."""
    span = whole_span(keys.seconds, real_segments(keys))[:, None]
    return replace(keys, values=keys.values.flatten(1, 2)[:, None], mask=keys.mask.flatten(1, 2)[:, None], seconds=span)


def _no_segments(state: ConnectorState, width: int, others: Mapping[str, Features]) -> Features:
    """Empty keys of a port that got nothing in this push."""
    like = next(iter(others.values()))
    size = len(state)
    values, mask = like.values.new_zeros(size, 0, 0, width), like.mask.new_zeros(size, 0, 0)
    return Features(values, mask, like.seconds.new_zeros(size, 0, 2), state.item, state.scene)


def _pairs(block: Blocks, chosen: Tensor) -> list[tuple[int, int]]:
    return list(zip(block.item[chosen].tolist(), block.scene[chosen].tolist(), strict=True))

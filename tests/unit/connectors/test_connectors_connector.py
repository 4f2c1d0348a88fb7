import pytest
import torch

from vidweave.connectors.connector import ConnectorConfig
from vidweave.connectors.fusion import ConcatFusionConfig
from vidweave.connectors.mlp import MLPConfig
from vidweave.connectors.ports import PortConfig
from vidweave.connectors.qformer import QFormerConfig
from vidweave.errors import ConfigError, ModalityError, ShapeError, UnknownNameError
from vidweave.types import Features, TextSpec, TextTokens

QFORMER = QFormerConfig(hidden=12, layers=2, heads=3, intermediate=10, encoder_width=14)
READER = QFormerConfig(
    hidden=12, layers=2, heads=3, intermediate=10, encoder_width=14, vocab_size=17, max_positions=8,
    text_spec=TextSpec(tokenizer="t", max_tokens=8),
)  # fmt: skip


def port(**changes):
    return PortConfig(**{"trunk": "qformer", "input_width": 14, "num_query_tokens": 3, **changes})


def build(ports, trunks=None, **changes):
    torch.manual_seed(0)
    trunks = trunks or {"qformer": QFORMER}
    connector = ConnectorConfig(trunks=trunks, ports=ports, output_width=9, **changes).build().eval()
    for parameter in connector.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return connector


def features(lengths, *, tokens=5, width=14, items=None, scenes=None, seed=1, start=0.0):
    """One row per length; segments of one second."""
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths, default=0)
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None])[..., None].expand(-1, -1, tokens)
    values = torch.randn(len(lengths), longest, tokens, width, generator=generator)
    seconds = start + torch.arange(longest)[:, None] + torch.tensor([0.0, 1.0])
    items = list(range(len(lengths))) if items is None else items
    scenes = [0] * len(lengths) if scenes is None else scenes
    return Features(
        values.masked_fill(~mask[..., None], torch.nan),  # what is masked must never be read
        mask.clone(),
        seconds.expand(len(lengths), -1, -1),
        torch.tensor(items, dtype=torch.long),
        torch.tensor(scenes, dtype=torch.long),
    )


def cut(f, start, end):
    return Features(f.values[:, start:end], f.mask[:, start:end], f.seconds[:, start:end], f.item, f.scene)


def row(f, index):
    length = int(f.mask[index].any(-1).sum())
    parts = (f.values[[index], :length], f.mask[[index], :length], f.seconds[[index], :length])
    return Features(*parts, torch.zeros(1, dtype=torch.long), f.scene[[index]])


def pairs(n):
    return torch.arange(n), torch.zeros(n, dtype=torch.long)


def real_tokens(blocks, index):
    return blocks.values[index][blocks.mask[index]]


def test_segment_span_gives_tokens_per_segment():
    connector = build({"video": port()})
    blocks, info = connector({"video": features([4, 2])}, *pairs(2))
    video = blocks["video"]
    assert video.values.shape == (2, 4, 3, 9)
    assert video.mask[:, :, 0].tolist() == [[True] * 4, [True, True, False, False]]
    assert torch.equal(video.seconds[0, :, 0], torch.arange(4.0))
    assert torch.isfinite(video.values).all()
    assert info == {"absent": {}}


def test_clip_span_gives_one_segment_over_the_whole_clip():
    connector = build({"video": port(span="clip", num_time_positions=6)})
    blocks, _ = connector({"video": features([4, 2])}, *pairs(2))
    assert blocks["video"].values.shape == (2, 1, 3, 9)
    assert blocks["video"].seconds[:, 0].tolist() == [[0.0, 4.0], [0.0, 2.0]]


@pytest.mark.parametrize("span", ["group", "clip"])
@pytest.mark.parametrize("times", [0, 6])
def test_batch_equals_one_by_one(span, times):
    connector = build({"video": port(span=span, num_time_positions=times, input_norm=True), "sound": port()})
    video, audio = features([4, 2, 5]), features([1, 3, 2], tokens=8, seed=2)
    batch, _ = connector({"video": video, "sound": audio}, *pairs(3))
    for index in range(3):
        alone, _ = connector({"video": row(video, index), "sound": row(audio, index)}, *pairs(1))
        for name in batch:
            torch.testing.assert_close(
                real_tokens(batch[name], index), real_tokens(alone[name], 0), rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize("span", ["group", "clip"])
def test_pieces_equal_whole_and_old_states_stay(span):
    connector = build({"video": port(span=span, num_time_positions=6)})
    whole = features([5, 2])
    expected, _ = connector({"video": whole}, *pairs(2))
    first = connector.push(connector.begin(*pairs(2)), {"video": cut(whole, 0, 3)})
    early, _ = connector.read(first)
    # the second row of this piece has no real segment; a third piece comes for it, and its gap closes
    second = connector.push(first, {"video": cut(whole, 3, 5)})
    got, _ = connector.read(second)
    again, _ = connector.read(first)
    assert torch.equal(early["video"].values, again["video"].values)
    for index in range(2):
        torch.testing.assert_close(
            real_tokens(got["video"], index), real_tokens(expected["video"], index), rtol=1e-4, atol=1e-5
        )
    assert torch.equal(got["video"].seconds[0], expected["video"].seconds[0])


def test_time_counts_real_segments_only():
    connector = build({"video": port(num_time_positions=4)})
    whole = features([3])
    gap = Features(
        whole.values[:, [0, 0, 1, 2]],
        whole.mask[:, [0, 0, 1, 2]].clone(),
        whole.seconds[:, [0, 0, 1, 2]],
        whole.item,
        whole.scene,
    )
    gap.mask[:, 1] = False
    expected, _ = connector({"video": whole}, *pairs(1))
    got, _ = connector({"video": gap}, *pairs(1))
    torch.testing.assert_close(got["video"].values, expected["video"].values)


def test_fresh_time_table_changes_nothing():
    ports = {"video": port()}
    plain = ConnectorConfig(trunks={"qformer": QFORMER}, ports=ports, output_width=9).build().eval()
    timed = ConnectorConfig(trunks={"qformer": QFORMER}, ports={"video": port(num_time_positions=7)}, output_width=9)
    timed = timed.build().eval()
    missing = timed.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing == ["ports.video.time_embedding"]
    given = ({"video": features([4, 2])}, *pairs(2))
    torch.testing.assert_close(plain(*given)[0]["video"].values, timed(*given)[0]["video"].values)


def test_one_pass_per_query_count_serves_all_ports(monkeypatch):
    ports = {"video": port(), "depth": port(), "sound": port(num_query_tokens=2)}
    connector = build(ports)
    given = {"video": features([4, 2]), "depth": features([3, 1], seed=3), "sound": features([1, 1], tokens=8, seed=2)}
    calls = []
    trunk = connector.trunks["qformer"]
    forward = trunk.forward
    monkeypatch.setattr(
        trunk,
        "forward",
        lambda given: calls.append((*given.queries.shape[:2], given.keys.shape[1])) or forward(given),
    )
    blocks, _ = connector(given, *pairs(2))
    assert calls == [(4 + 2 + 3 + 1, 3, 5), (2, 2, 8)]  # padded segments are not computed
    assert [block.values.shape[2] for block in blocks.values()] == [3, 3, 2]


def test_mlp_trunk_keeps_tokens():
    trunks = {"mlp": MLPConfig(key_width=14, widths=(11, 6))}
    connector = build({"video": port(trunk="mlp", num_query_tokens=0)}, trunks)
    f = features([2, 1])
    f.mask[0, 1, 3:] = False
    blocks, _ = connector({"video": f}, *pairs(2))
    assert blocks["video"].values.shape == (2, 2, 5, 9)
    assert torch.equal(blocks["video"].mask, f.mask)
    p, layers = connector.ports["video"], connector.trunks["mlp"].layers
    expected = p.output_proj(layers[1](torch.nn.functional.gelu(layers[0](f.values[0, 0]))))
    torch.testing.assert_close(blocks["video"].values[0, 0], expected)


def test_linear_projector_is_an_mlp_without_layers():
    connector = build({"video": port(trunk="mlp", num_query_tokens=0)}, {"mlp": MLPConfig(key_width=14)})
    f = features([2])
    blocks, _ = connector({"video": f}, *pairs(1))
    torch.testing.assert_close(blocks["video"].values, connector.ports["video"].output_proj(f.values))


def test_port_order_is_project_norm_time():
    connector = build({"video": port(input_width=8, input_proj=14, input_norm=True, num_time_positions=3)})
    p = connector.ports["video"]
    f = features([3], width=8)
    got = p.keys(f.values, f.mask, torch.zeros(1, dtype=torch.long), torch.float32)
    torch.testing.assert_close(got, p.input_norm(p.input_proj(f.values)) + p.time_embedding[:, None])


def test_text_goes_to_its_rows():
    connector = build({"video": port()}, {"qformer": READER})
    assert connector.text_spec == READER.text_spec
    text = TextTokens(torch.randint(0, 17, (2, 6)), torch.tensor([[True] * 6, [True] * 3 + [False] * 3]))
    video = features([2, 3, 1], items=[1, 0, 1], scenes=[0, 0, 2])
    item, scene = video.item, video.scene
    batch, _ = connector({"video": video}, item, scene, text)
    for index, owner in enumerate(item.tolist()):
        length = int(text.mask[owner].sum())
        own = TextTokens(text.ids[[owner], :length], text.mask[[owner], :length])
        alone, _ = connector({"video": row(video, index)}, torch.zeros(1, dtype=torch.long), scene[[index]], own)
        torch.testing.assert_close(
            real_tokens(batch["video"], index), real_tokens(alone["video"], 0), rtol=1e-4, atol=1e-5
        )


def test_rows_in_any_order_come_out_in_the_order_of_pairs():
    connector = build({"video": port()})
    video = features([2, 3], items=[1, 0])
    blocks, _ = connector({"video": video}, *pairs(2))
    straight = Features(*(getattr(video, n)[[1, 0]] for n in ("values", "mask", "seconds", "item", "scene")))
    expected, _ = connector({"video": straight}, *pairs(2))
    assert torch.equal(blocks["video"].values, expected["video"].values)
    assert blocks["video"].item.tolist() == [0, 1]


def test_no_rows_at_all():
    connector = build({"video": port(), "clip": port(span="clip")})
    nothing = torch.zeros(0, dtype=torch.long)
    blocks, _ = connector({}, nothing, nothing)
    assert blocks["video"].values.shape[0] == 0
    blocks, _ = connector({"video": features([]), "clip": features([])}, nothing, nothing)
    assert blocks["clip"].values.shape[0] == 0


def test_absent_zero_stands_at_the_times_of_the_others():
    connector = build(
        {"video": port(), "depth": port(absent="zero", num_query_tokens=2), "sound": port(absent="zero", span="clip")}
    )
    given = {"video": features([4, 3]), "depth": features([2], items=[0], seed=5)}
    blocks, info = connector(given, *pairs(2))
    depth, audio = blocks["depth"], blocks["sound"]
    assert info["absent"] == {"depth": [(1, 0)], "sound": [(0, 0), (1, 0)]}
    assert depth.mask[..., 0].tolist() == [[True, True, False], [True, True, True]]
    assert not depth.values[1].any()
    assert torch.equal(depth.seconds[1, :3], given["video"].seconds[1, :3])
    assert audio.mask.all()
    assert audio.seconds[:, 0].tolist() == [[0.0, 4.0], [0.0, 3.0]]
    expected, _ = build({"depth": port(num_query_tokens=2)})({"depth": given["depth"]}, *pairs(1))
    assert torch.equal(depth.mask[0, :2], expected["depth"].mask[0])


def test_absent_learned_tokens():
    connector = build({"video": port(), "depth": port(absent="learned")})
    blocks, _ = connector({"video": features([2])}, *pairs(1))
    for segment in range(2):
        assert torch.equal(blocks["depth"].values[0, segment], connector.ports["depth"].absent_tokens)
    connector.zero_grad()
    blocks["depth"].values.sum().backward()
    assert connector.ports["depth"].absent_tokens.grad.unique().tolist() == [2.0]


def test_absent_is_an_error_unless_declared():
    connector = build({"video": port(), "depth": port()})
    state = connector.push(connector.begin(*pairs(2)), {"video": features([2, 2]), "depth": features([1], items=[0])})
    with pytest.raises(ModalityError, match="stream 'depth' is missing for item 1, scene 0"):
        connector.read(state)
    late = connector.push(state, {"depth": features([1], items=[1])})
    assert connector.read(late)[0]["depth"].mask[:, 0, 0].all()


@pytest.mark.parametrize("absent", ["zero", "learned"])
def test_absent_in_a_batch_equals_alone(absent):
    connector = build({"video": port(), "depth": port(absent=absent)}, fusion=ConcatFusionConfig(align="exact"))
    video, depth = features([4, 3]), features([4], items=[0], seed=5)
    batch, _ = connector({"video": video, "depth": depth}, *pairs(2))
    alone, _ = connector({"video": row(video, 1)}, *pairs(1))
    torch.testing.assert_close(real_tokens(batch["fused"], 1), real_tokens(alone["fused"], 0))
    assert batch["fused"].values.shape[2] == 6


def test_exception_in_a_push_leaves_the_state_valid():
    connector = build({"video": port(num_time_positions=4)})
    whole = features([4])
    state = connector.push(connector.begin(*pairs(1)), {"video": cut(whole, 0, 3)})
    with pytest.raises(ShapeError, match="stream 'video' has 6 segments, its time table 4 rows"):
        connector.push(state, {"video": features([3])})
    got, _ = connector.read(connector.push(state, {"video": cut(whole, 3, 4)}))
    expected, _ = connector({"video": whole}, *pairs(1))
    torch.testing.assert_close(got["video"].values, expected["video"].values, rtol=1e-4, atol=1e-5)


def test_a_clip_that_cannot_be_read_is_refused_when_pushed():
    connector = build({"video": port(span="clip", num_time_positions=4)})
    state = connector.push(connector.begin(*pairs(1)), {"video": features([3])})
    with pytest.raises(ShapeError, match="stream 'video' has 5 segments, its time table 4 rows"):
        connector.push(state, {"video": features([2])})
    with pytest.raises(ShapeError, match="stream 'video' has width 13"):
        connector.push(connector.begin(*pairs(1)), {"video": features([2], width=13)})
    assert connector.read(state)[0]["video"].mask.all()


def test_config_round_trip_and_state_dict_roots():
    config = ConnectorConfig(
        trunks={"qformer": READER, "mlp": MLPConfig(key_width=4, widths=(5,))},
        ports={"video": port(absent="zero"), "sound": port(trunk="mlp", input_width=4, num_query_tokens=0)},
        fusion=ConcatFusionConfig(streams=("video",), align="exact"),
        output_width=9,
    )
    assert ConnectorConfig.from_dict(config.to_dict()) == config
    connector = config.build()
    assert connector.block_names == ("fused", "sound")
    assert {key.split(".")[0] for key in connector.state_dict()} == {"trunks", "ports"}
    assert not list(connector.buffers())


def test_half_precision():
    connector = build({"video": port(span="clip", num_time_positions=5, input_norm=True)}).to(torch.bfloat16)
    blocks, _ = connector({"video": features([4, 2])}, *pairs(2))
    assert blocks["video"].values.dtype == torch.bfloat16
    assert blocks["video"].seconds.dtype == torch.float32
    assert torch.isfinite(blocks["video"].values).all()


def test_gradients_reach_every_parameter():
    connector = build({"video": port(span="clip", num_time_positions=4, input_norm=True), "depth": port()})
    blocks, _ = connector({"video": features([4, 2]), "depth": features([1, 2])}, *pairs(2))
    sum(block.values.square().sum() for block in blocks.values()).backward()
    assert [name for name, p in connector.named_parameters() if p.grad is None] == []


def test_faults_of_configurations():
    with pytest.raises(UnknownNameError, match="unknown trunk 'qformr'; did you mean 'qformer'"):
        ConnectorConfig(trunks={"qformer": QFORMER}, ports={"video": port(trunk="qformr")}, output_width=9)
    with pytest.raises(ConfigError, match="at least one port"):
        ConnectorConfig(trunks={}, ports={}, output_width=9)
    with pytest.raises(ConfigError, match="trunk 'spare' has no port"):
        ConnectorConfig(trunks={"qformer": QFORMER, "spare": QFORMER}, ports={"video": port()}, output_width=9)
    with pytest.raises(ConfigError, match="width 13, trunk 'qformer' reads 14; set input_proj=14"):
        build({"video": port(input_width=13)})
    with pytest.raises(ConfigError, match="has 0 query tokens, trunk 'qformer' needs query tokens"):
        build({"video": port(num_query_tokens=0)})
    with pytest.raises(ConfigError, match="takes no query tokens"):
        build({"video": port(trunk="mlp")}, {"mlp": MLPConfig(key_width=14)})
    with pytest.raises(ConfigError, match="no output_proj, but trunk 'qformer' is 12 wide and the language model 9"):
        build({"video": port(output_proj=False)})
    with pytest.raises(ConfigError, match="set num_absent_tokens"):
        build({"video": port(trunk="mlp", num_query_tokens=0, absent="zero")}, {"mlp": MLPConfig(key_width=14)})
    with pytest.raises(ConfigError, match="needs a 'kind'"):
        ConnectorConfig(trunks={"qformer": {"hidden": 3}}, ports={"video": port()}, output_width=9)
    with pytest.raises(ConfigError, match="must be positive"):
        MLPConfig(key_width=3, widths=(0,))


def test_faults_of_inputs():
    connector = build({"video": port()})
    state = connector.begin(*pairs(2))
    with pytest.raises(UnknownNameError, match="unknown stream 'vidoe'; did you mean 'video'"):
        connector.push(state, {"vidoe": features([1])})
    with pytest.raises(ShapeError, match="row for item 2, scene 0, which is not among the pairs of begin"):
        connector.push(state, {"video": features([1], items=[2])})
    with pytest.raises(ShapeError, match="two rows for item 1, scene 0"):
        connector.push(state, {"video": features([1, 1], items=[1, 1])})
    with pytest.raises(ShapeError, match="stream 'video' has width 13, its port takes 14"):
        connector.push(state, {"video": features([1], width=13)})
    with pytest.raises(ShapeError, match="pairs repeat"):
        connector.begin(torch.tensor([1, 1]), torch.tensor([0, 0]))
    with pytest.raises(ShapeError, match=r"must be \(P,\)"):
        connector.begin(torch.tensor([1, 1]), torch.tensor([0]))
    clip = build({"video": port(span="clip")})
    pushed = clip.push(clip.begin(*pairs(1)), {"video": features([1])})
    with pytest.raises(ShapeError, match=r"were \(5, 14\) .tokens, width. so far, now they are \(6, 14\)"):
        clip.push(pushed, {"video": features([1], tokens=6)})
    reader = build({"video": port()}, {"qformer": READER})
    with pytest.raises(ConfigError, match="QFormer reads text, but none was given"):
        reader.begin(*pairs(1))
    with pytest.raises(ShapeError, match="item 1 has no text: there are 1 rows"):
        reader.begin(*pairs(2), TextTokens(torch.ones(1, 2, dtype=torch.long), torch.ones(1, 2, dtype=torch.bool)))

"""What modalities have to say of a scene, token by token."""

from vidweave.tiny.modalities import MODALITY_FACTS, MODALITY_SLOTS, modality_facts
from vidweave.tiny.scenes import train_scene
from vidweave.toyworld import attributes as a


def facts_of(reply, token):
    return {MODALITY_FACTS[i][1:] for i in reply[token].nonzero()[0]}


def test_modalities_that_know_places_report_their_fact_in_the_quarter_of_each_object():
    for index in range(20):
        scene = train_scene(index)
        reply = modality_facts(scene, 16)
        for modality, name in a.MODALITY_ATTRIBUTES.items():
            if modality != "touch":
                info = {token: facts_of(reply[modality], token) for token in range(16)}
                known = {obj.quarter: {(name, getattr(obj, name))} for obj in scene.objects}
                assert {token: facts for token, facts in info.items() if facts} == known


def test_touch_reports_shape_by_shape_and_audio_in_one_token():
    for index in range(20):
        scene = train_scene(index)
        reply = modality_facts(scene, 16)
        first = MODALITY_SLOTS["touch"].first
        felt = {facts for token in range(16) if (facts := frozenset(facts_of(reply["touch"], token)))}
        assert felt == {frozenset({("shape", o.shape), ("firmness", o.firmness)}) for o in scene.objects}
        assert all(facts_of(reply["touch"], first + a.SHAPES.index(o.shape)) for o in scene.objects)
        beeper = scene.beeper
        assert beeper is not None
        heard = {("pitch", beeper.pitch), ("beeps", str(len(beeper.beeps)))}
        assert facts_of(reply["audio"], MODALITY_SLOTS["audio"].first) == heard
        assert reply["audio"].any(1).sum() == 1


def test_no_two_modalities_show_the_same_fact():
    reply = modality_facts(train_scene(3), 16)
    own = {modality: {MODALITY_FACTS[i][0] for i in info.any(0).nonzero()[0]} for modality, info in reply.items()}
    assert own == {modality: {modality} for modality in MODALITY_SLOTS}

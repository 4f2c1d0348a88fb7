"""Registries: typed facts, lazy imports, and plug-ins of other packages, healthy and broken."""

from __future__ import annotations

import pytest

from vidweave import registration
from vidweave.errors import ConfigError, UnknownNameError
from vidweave.registration import DatasetFacts, Facts, ModelFacts, Registry
from vidweave.registry import REGISTRIES


def installed(folder, name: str, entry_points: str, **modules: str) -> None:
    """A distribution as pip would leave it: metadata, entry points, and its modules."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that the interpreter takes for one with installed packages."""
    monkeypatch.syspath_prepend(tmp_path)
    registration._entry_points.cache_clear()
    yield tmp_path
    registration._entry_points.cache_clear()


def test_facts_have_a_type_and_defaults():
    models = Registry("model", ModelFacts)
    models.register("plain", dict)
    models.register("whole", "collections:OrderedDict", weights="folder", summary="two")
    assert models.entry("plain").facts == ModelFacts()
    assert (models.entry("whole").facts.weights, models.entry("whole").facts.loader) == ("folder", "")
    with pytest.raises(UnknownNameError, match="unknown fact of a model 'weight'; did you mean 'weights'"):
        models.register("wrong", dict, weight="folder")
    with pytest.raises(ConfigError, match="model 'plain' is already registered"):
        models.register("plain", list)
    assert list(models) == ["plain", "whole"]


def test_a_target_is_an_import_path_an_object_or_plain_text():
    names = Registry("thing")
    for name, target in {
        "path": "os.path:join",
        "nested": "pathlib:Path.home",
        "object": 3,
        "text": "owner/name",
    }.items():
        names.register(name, target)
    import os.path
    from pathlib import Path

    assert [names.get(n) for n in ("path", "nested", "object", "text")] == [os.path.join, Path.home, 3, "owner/name"]


def test_every_registry_reads_a_group_of_its_own():
    groups = {registry.group for registry in REGISTRIES.values()}
    assert groups == {f"vidweave.{kind}" for kind in REGISTRIES}
    assert {"models", "tasks", "datasets", "encoders", "selectors", "modalities"} <= set(REGISTRIES)


def test_plugins_are_listed_without_import_and_loaded_by_name(site):
    points = "[vidweave.things]\nfirst = plug_a:VALUE\nmany = plug_b\n[other.group]\nx = y:z\n"
    installed(
        site, "plugged", points,
        plug_a="VALUE = 7\nimport plug_marker",
        plug_b="import test_registration_target as t\nt.THINGS.register('second', 8, summary='by itself')",
    )  # fmt: skip
    (site / "plug_marker.py").write_text("")
    things = Registry("thing", DatasetFacts, group="vidweave.things")
    (site / "test_registration_target.py").write_text("")
    import sys

    import test_registration_target  # type: ignore[import-not-found]

    test_registration_target.THINGS = things
    assert list(things) == ["first", "second"]
    assert "plug_marker" not in sys.modules
    assert (things.get("first"), things.entry("second").facts.summary) == (7, "by itself")
    assert "plug_marker" in sys.modules
    assert (things.entry("first").plugin, things.entry("second").plugin) == ("plugged", "")


def test_a_name_that_is_known_searches_no_packages(monkeypatch):
    things = Registry("thing", group="vidweave.things")
    things.register("own", 1)
    monkeypatch.setattr(registration, "_entry_points", lambda: pytest.fail("searched"))
    assert "own" in things
    assert things.get("own") == 1


@pytest.mark.parametrize(
    ("entry_point", "reason"),
    [
        ("bad = plug_broken", "ValueError: no such machine"),
        ("bad = plug_gone", "ModuleNotFoundError: No module named 'plug_gone'"),
        ("bad = plug_exits", "SystemExit: 3"),
        ("own = plug_fine:VALUE", "ConfigError: thing 'own' is already registered (1); use another name"),
    ],
)
def test_a_broken_plugin_is_one_warning_that_names_it(site, entry_point, reason):
    installed(
        site, "faulty", f"[vidweave.things]\n{entry_point}\nfine = plug_fine:VALUE\n",
        plug_broken="raise ValueError('no such machine\\nsecond line')", plug_fine="VALUE = 5",
        plug_exits="raise SystemExit(3)",
    )  # fmt: skip
    things = Registry("thing", Facts, group="vidweave.things")
    things.register("own", 1)
    with pytest.warns(RuntimeWarning) as seen:
        assert list(things) == ["fine", "own"]
    name = entry_point.split(" ")[0]
    assert [str(w.message) for w in seen] == [
        f"the plug-in faulty is left out: its entry point {name!r} of vidweave.things fails: {reason}"
    ]
    assert things.get("fine") == 5
    assert list(things) == ["fine", "own"]  # and no second warning


def test_an_object_of_a_plugin_that_cannot_be_imported_is_an_error_where_it_is_asked_for(site):
    installed(site, "faulty", "[vidweave.things]\nbad = plug_nowhere:VALUE\n")
    things = Registry("thing", group="vidweave.things")
    assert list(things) == ["bad"]
    with pytest.raises(
        ConfigError, match=r"'bad' of the plug-in faulty cannot be imported from plug_nowhere:VALUE: Mod"
    ):
        things.get("bad")

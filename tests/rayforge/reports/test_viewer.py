"""The episode viewer: what it embeds, what it refuses, and that text from data stays text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_run import make_building, make_episodes

from rayforge.reports.viewer import floors, write_viewer

EVIL = "</script><img src=x onerror=alert(1)><!--\u2028'\"&"


@pytest.fixture
def maps() -> dict[str, dict[str, Any]]:
    return {scan: make_building(scan, seed=i) for i, scan in enumerate(("one", "two", "three"))}


def _write(tmp_path: Path, episodes: list[dict], maps: dict[str, Any]) -> tuple[str, dict]:
    file = write_viewer(tmp_path, "val_seen", episodes, maps, tmp_path / "watch_val_seen.html")
    html = file.read_text(encoding="utf-8")
    found = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert len(found) == 1
    return html, json.loads(found[0])


def test_episodes_and_their_maps_are_embedded(tmp_path: Path, maps: dict[str, Any]) -> None:
    given = make_episodes({scan: maps[scan] for scan in ("one", "two")}, 6)
    html, data = _write(tmp_path, given, maps)
    assert set(data["scans"]) == {"one", "two"}
    assert len(data["episodes"]) == 6
    first, shown = given[0], data["episodes"][0]
    ids = maps[first["scan"]]["ids"]
    assert [ids[i] for i in shown["path"]] == first["path"]
    assert [ids[i] for i in shown["reference"]] == first["reference"]
    assert shown["seen"][0] == first["steps"][0]["seen"]
    assert shown["probability"][0] == pytest.approx(first["steps"][0]["probability"], abs=1e-3)
    assert data["scans"]["one"]["rooms"] == maps["one"]["rooms"]
    assert max(data["scans"]["one"]["floors"]) == 1
    assert 'href="report.html"' in html


def test_nothing_is_loaded_and_only_the_own_script_may_run(
    tmp_path: Path, maps: dict[str, Any]
) -> None:
    html, _ = _write(tmp_path, make_episodes(maps, 3), maps)
    assert not re.search(r"<(link|img|iframe|object|embed|base)\b|https?://(?!www\.w3\.org)", html)
    script = re.findall(r"<script>(.*?)</script>", html, re.S)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'" in html
    assert "innerHTML" not in script[0] and "document.write" not in script[0]


def test_text_from_data_stays_text(tmp_path: Path, maps: dict[str, Any]) -> None:
    maps["one"]["rooms"][0] = EVIL
    episodes = make_episodes({"one": maps["one"]}, 2)
    episodes[0] |= {"instruction": EVIL, "episode_id": EVIL}
    episodes[0]["steps"][0]["seen"] = [EVIL]
    episodes[1]["instruction"] = "broken \ud800"
    run = tmp_path / "<img src=y onerror=alert(2)>"
    run.mkdir()
    file = write_viewer(run, EVIL, episodes, maps, run / "watch.html")
    html = file.read_text(encoding="utf-8")
    assert "<img" not in html and "<!--" not in html
    assert html.count("</script>") == 2  # the data and the page's own
    embedded = re.findall(r'id="data">(.*?)</script>', html, re.S)[0]
    assert json.loads(embedded)["episodes"][0]["text"] == EVIL
    assert json.loads(embedded)["episodes"][1]["text"] == "broken ?"


def test_steps_and_figures_may_be_missing(tmp_path: Path, maps: dict[str, Any]) -> None:
    episodes = make_episodes(maps, 2)
    del episodes[0]["steps"], episodes[0]["spl"], episodes[0]["forced_stop"]
    episodes[0]["distance"] = float("nan")
    episodes[1]["steps"][0] = {"viewpoint": episodes[1]["path"][0], "heading": float("inf")}
    _, data = _write(tmp_path, episodes, maps)
    bare, partial = data["episodes"]
    assert bare["heading"] == [] and bare["distance"] is None and bare["spl"] is None
    assert partial["heading"][0] is None and partial["probability"][0] is None
    assert partial["seen"][0] == []


def test_numpy_values_are_taken(tmp_path: Path, maps: dict[str, Any]) -> None:
    maps["one"]["positions"] = np.array(maps["one"]["positions"], np.float32)
    maps["one"]["edges"] = np.array(maps["one"]["edges"], np.int32)
    episodes = make_episodes({"one": maps["one"]}, 1)
    episodes[0]["distance"] = np.float32(2.5)
    episodes[0]["steps"][0]["heading"] = np.float32(0.5)
    _, data = _write(tmp_path, episodes, maps)
    assert data["episodes"][0]["distance"] == 2.5
    assert data["episodes"][0]["heading"][0] == 0.5


def test_a_choice_of_episodes_is_no_rate(tmp_path: Path, maps: dict[str, Any]) -> None:
    episodes = make_episodes(maps, 8)
    scored = [{"success": n < 30} for n in range(120)]
    file = write_viewer(tmp_path, "val_unseen", episodes, maps, tmp_path / "w.html", scored)
    html = file.read_text()
    assert "Episodes in new buildings (val_unseen)" in html
    assert "8 of 120 scored episodes" in html and "Of all 120, 25% reach it." in html


def test_no_episodes_make_an_empty_page(tmp_path: Path, maps: dict[str, Any]) -> None:
    _, data = _write(tmp_path, [], maps)
    assert data["episodes"] == [] and data["scans"] == {}


def test_what_does_not_fit_is_named(tmp_path: Path, maps: dict[str, Any]) -> None:
    episodes = make_episodes({"one": maps["one"]}, 1)
    with pytest.raises(ValueError, match="building one, of which no map"):
        _write(tmp_path, episodes, {})
    elsewhere = [{**episodes[0], "path": ["nowhere"]}]
    with pytest.raises(ValueError, match=r"1000_0: viewpoint nowhere of its path .* one"):
        _write(tmp_path, elsewhere, maps)
    with pytest.raises(ValueError, match="episode 1000_0: 1 steps for"):
        _write(tmp_path, [{**episodes[0], "steps": episodes[0]["steps"][:1]}], maps)
    with pytest.raises(ValueError, match="map of building one: 57 positions but 2 rooms"):
        _write(tmp_path, episodes, {"one": {**maps["one"], "rooms": ["a", "b"]}})
    with pytest.raises(ValueError, match="an edge names a viewpoint beyond 56"):
        _write(tmp_path, episodes, {"one": {**maps["one"], "edges": [[0, 57]]}})


def test_floors() -> None:
    assert floors(np.array([])).tolist() == []
    assert floors(np.array([1.5, 1.6, 1.4, 1.9])).tolist() == [0, 0, 0, 0]
    stairs = np.array([1.5] * 20 + [2.4, 3.3] + [4.5] * 20)
    assert floors(stairs).tolist() == [0] * 21 + [1] * 21
    assert floors(np.array([0.0, 3.0, -3.0])).tolist() == [1, 2, 0]


def with_plan(episode: dict[str, Any]) -> dict[str, Any]:
    path = episode["path"]
    return {
        **episode,
        "plan": {
            "words": ["go", EVIL], "ways": [path, path[:1]], "alike": [[0], [1]],
            "belief": [[0.5, 0.5], [0.9, 0.1]],
        },
    }  # fmt: skip


def test_a_planners_beliefs_are_embedded_word_by_word(tmp_path: Path, maps: dict[str, Any]) -> None:
    first, second = make_episodes({"one": maps["one"]}, 2)
    html, data = _write(tmp_path, [with_plan(first), second], maps)
    plan = data["episodes"][0]["plan"]
    assert [maps["one"]["ids"][i] for i in plan["ways"][0]] == first["path"]
    assert plan["belief"] == [[0.5, 0.5], [0.9, 0.1]] and plan["words"] == ["go", EVIL]
    assert data["episodes"][1]["plan"] is None
    assert "<img" not in html and html.count("</script>") == 2


def test_a_plan_that_does_not_fit_is_refused(tmp_path: Path, maps: dict[str, Any]) -> None:
    (episode,) = make_episodes({"one": maps["one"]}, 1)
    planned = with_plan(episode)
    planned["plan"]["ways"][0] = ["nowhere"]
    with pytest.raises(ValueError, match="viewpoint nowhere of its plan is not on the map"):
        _write(tmp_path, [planned], maps)
    planned = with_plan(episode)
    planned["plan"]["belief"].pop()
    with pytest.raises(ValueError, match="the lists of its plan do not fit together"):
        _write(tmp_path, [planned], maps)

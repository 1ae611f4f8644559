"""The report of a run: what it holds, and what it does where parts are missing or hostile."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from rayforge.reports.report import SEMANTIC_NOTE, duration, write_report
from rayforge.reports.run_folder import phases, read_run


def assert_self_contained(html: str) -> None:
    """Nothing is loaded, and no script runs but the page's own."""
    assert not re.search(r"<(link|img|iframe|object|embed|base)\b", html)
    assert not re.search(r"\b(src|srcset|xlink:href)\s*=", html)
    assert "url(" not in html and "@import" not in html
    assert "default-src 'none'" in html


def test_a_whole_run(run: Path) -> None:
    (run / "watch_val_seen.html").write_text("")
    file = write_report(run)
    html = file.read_text()
    assert file == run / "report.html"
    assert_self_contained(html)
    for said in (
        "LangGoalIRL full", "shuffled text", "Oracle", "nDTW", "Forced stop", "55 min",
        "--method langgoal --seed 0", "Example CPU", "120 episodes", SEMANTIC_NOTE,
        "Discriminator accuracy", "Goal generator", "Go past the sofa and turn left",
        "(0.61, 0.90)", "(0.23, 0.40, rejected)",
        'href="watch_val_seen.html"', "rayforge irl watch", "extra/figure",
    ):  # fmt: skip
        assert said in html, said
    assert "gone" not in html.split("</style>")[1]
    stated = json.loads((run / "evaluation_val_seen.json").read_text())["agents"]["agent"]["spl"]
    assert f"{stated['mean']:.3f}" in html
    assert f"[{stated['low']:.3f}, {stated['high']:.3f}]" in html


def test_every_chart_is_well_formed(run: Path) -> None:
    charts = re.findall(r"<svg.*?</svg>", write_report(run).read_text(), re.DOTALL)
    assert len(charts) > 15
    for chart in charts:
        ET.fromstring(chart)
        assert "nan" not in chart and "inf" not in chart


def test_an_empty_folder_says_what_is_missing(tmp_path: Path) -> None:
    html = write_report(tmp_path).read_text()
    for said in (
        "config.yaml is missing", "metrics.jsonl is missing", "no evaluation_*.json",
        "no episodes_*.jsonl", "no sentences.jsonl", "not recorded",
    ):  # fmt: skip
        assert said in html, said


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        write_report(tmp_path / "nowhere")


def test_a_half_written_last_line_is_ignored_and_a_broken_one_named(run: Path) -> None:
    whole = read_run(run)
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write('{"iteration": 151, "rollout/succ')
    assert read_run(run).metrics == whole.metrics
    assert read_run(run).problems == ()
    lines = (run / "metrics.jsonl").read_text().splitlines()
    lines[4] = "broken"
    (run / "metrics.jsonl").write_text("\n".join(lines))
    assert len(read_run(run).metrics) == len(whole.metrics) - 1
    assert "metrics.jsonl: 1 of 151 lines are no records" in write_report(run).read_text()


def test_an_unfinished_run_says_how_to_go_on(run: Path) -> None:
    assert "not finished" not in write_report(run).read_text()
    for file in run.glob("evaluation_*.json"):
        file.unlink()
    html = write_report(run).read_text()
    assert "This run is not finished" in html and "1,200 updates" in html
    assert f"rayforge irl train --resume {run}" in html


def test_a_run_that_is_not_to_be_evaluated_is_not_called_unfinished(run: Path) -> None:
    for file in run.glob("evaluation_*.json"):
        file.unlink()
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "evaluate": []}))
    html = write_report(run).read_text()
    assert "not finished" not in html and "evaluates no split" in html


def test_what_a_planner_learnt_and_scored_is_on_the_page(run: Path) -> None:
    assert "Planner" not in write_report(run).read_text()
    learnt = {
        "command": "rayforge irl plan RUN", "curve": [
            {"update": n, "loss": 1.0 / n, "held_back_nats": 1.2 / n} for n in (1, 2, 3)],
        "fitted": {"map": {"weights": {"reward": 0.6712}, "nats": 0.677, "success": 0.787}},
    }  # fmt: skip
    (run / "planner.json").write_text(json.dumps(learnt))
    figures = {"success": {"mean": 0.511, "low": 0.458, "high": 0.561, "count": 360}}
    scored = {
        "split": "val_unseen", "method": "planner, map", "setting": "mapped: walked before",
        "command": "rayforge irl evaluate RUN --planner map", "agents": {"agent": figures},
    }  # fmt: skip
    (run / "planned_val_unseen_map.json").write_text(json.dumps(scored))
    html = write_report(run).read_text()
    assert "Weight of reward" in html and "0.671" in html and "Loss of the reward" in html
    assert "val unseen, planner, map" in html and "[0.458, 0.561]" in html
    (run / "planner.json").write_text('{"curve": 3}')
    html = write_report(run).read_text()
    assert "planner.json cannot be read" in html and "[0.458, 0.561]" in html


def test_a_line_that_is_always_0_has_no_card(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    given = [json.dumps({**line, "rollout/failures": 0.0}) for line in lines]
    (run / "metrics.jsonl").write_text("\n".join(given))
    html = write_report(run).read_text()
    assert "Always 0, and not drawn: Failed episodes." in html
    assert "<strong>Failed episodes</strong>" not in html


def test_a_film_is_linked_to(run: Path) -> None:
    (run / "watch_val_seen.mp4").write_bytes(b"")
    (run / "watch_val_seen.png").write_bytes(b"")
    html = write_report(run).read_text()
    assert '<a href="watch_val_seen.mp4">Watch the film</a>' in html
    assert '<a href="watch_val_seen.png">Frames of the film</a>' in html


def test_damaged_files_cost_their_section_alone(run: Path) -> None:
    (run / "config.yaml").write_text("a: [unclosed")
    (run / "evaluation_held_out.json").write_text('{"agents": ')
    (run / "evaluation_val_seen.json").write_text(
        json.dumps({"agents": {"agent": {"success": {"mean": None}, "spl": 0.5}, "odd": 3}})
    )
    (run / "episodes_val_seen.jsonl").write_text('{"scan": 7}\n')
    html = write_report(run).read_text()
    assert "config.yaml cannot be read" in html
    assert "evaluation_held_out.json cannot be read" in html
    assert "0.500" in html and "Discriminator accuracy" in html


def test_text_from_data_stays_text(run: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>\"'&"
    (run / "sentences.jsonl").write_text(json.dumps({"human": evil, "paraphrase": evil}) + "\n")
    document = json.loads((run / "evaluation_val_seen.json").read_text())
    document |= {"method": evil, "command": evil, "hardware": evil, "split": evil}
    document["agents"][evil] = {evil: document["agents"]["agent"]["success"]}
    (run / "evaluation_val_seen.json").write_text(json.dumps(document))
    (run / "evaluation_held_out.json").unlink()
    (run / "config.yaml").write_text(json.dumps({"method": evil, evil: evil}))
    (run / "run.json").unlink()
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write(json.dumps({"updates": 1300, "phase": evil, f"a/{evil}": 1.0}) + "\n")
    html = write_report(run).read_text()
    assert "<img" not in html and "</script>" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_an_adapted_run_says_that_it_is_transductive(run: Path) -> None:
    assert "Transductive" not in write_report(run).read_text()
    sample = {"sentence": "Go <on>", "follower": 0.5, "generator": 0.8, "kept": False}
    buildings = [
        {"scan": scan, "in_training": scan == "old", "walked": 1280, "fit": 70, "described": 50,
         "kept": 20, "samples": [sample]}
        for scan in ("old", "new")
    ]  # fmt: skip
    document = {
        "run": "runs/full", "settings": {"walks": "random"}, "demonstrations": 1000,
        "buildings": buildings,
        "change": {"held_out": {"mean": 0.021, "low": -0.01, "high": 0.05, "count": 120}},
    }  # fmt: skip
    (run / "adaptation.json").write_text(json.dumps(document))
    html = write_report(run).read_text()
    for said in (
        "Transductive", "old (in training)", "1,280", "random walks", "40 pairs joined",
        "+0.021 [-0.010, 0.050]", "Go &lt;on&gt;", "rejected",
    ):  # fmt: skip
        assert said in html, said
    (run / "adaptation.json").write_text('{"settings": ')
    assert "adaptation.json cannot be read" in write_report(run).read_text()


def test_phases_begin_after_the_updates_before_them(run: Path) -> None:
    assert phases(read_run(run)) == [(0.0, "generator"), (176.0, "clone"), (416.0, "irl")]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(8, "8 s"), (150, "2 min"), (3312, "55 min"), (9000, "2 h 30 min"), (float("nan"), "")],
)
def test_duration(seconds: float, said: str) -> None:
    assert duration(seconds) == said

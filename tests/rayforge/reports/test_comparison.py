"""Runs side by side: which are merged, and what their differences are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from rayforge.evaluation.intervals import Interval, seed_interval
from rayforge.reports.comparison import write_comparison
from rayforge.reports.groups import merge_seeds, over_episodes, over_same_seeds, over_seeds, why_not
from rayforge.reports.plots import Difference
from rayforge.reports.run_folder import RunFolder, policy_curve, read_run

Make = Callable[..., Path]
NOT_LEARNT = ("seed", "runners", "shown.size")


def _success(run: Path) -> dict[str, float]:
    lines = (run / "episodes_val_seen.jsonl").read_text().splitlines()
    return {e["episode_id"]: float(e["success"]) for e in map(json.loads, lines)}


def test_seeds_are_merged_and_methods_compared(make: Make, tmp_path: Path) -> None:
    full = [make(f"full-{s}", seed=s, success=0.5) for s in range(3)]
    gcbc = [make(f"gcbc-{s}", seed=s, success=0.3, method="gcbc") for s in range(3)]
    file = write_comparison([*full, *gcbc], tmp_path / "out" / "comparison.html", NOT_LEARNT)
    html = file.read_text()
    for said in ("LangGoalIRL full", "GCBC", "seeds 0, 1, 2", "3 shared seeds",
                 "full (3 runs) \u2212 gcbc (3 runs)", "full (3 runs) is better than",
                 "120 shared episodes", "full-2", "expert", "not comparable"):  # fmt: skip
        assert said in html, said
    first, second = merge_seeds([read_run(run) for run in (*full, *gcbc)], NOT_LEARNT)
    assert len(first.runs) == len(second.runs) == 3

    means = [float(np.mean(list(_success(run).values()))) for run in full]
    assert over_seeds(first, "val_seen", "agent", "success") == pytest.approx(seed_interval(means))
    a, b = ({name: np.mean([_success(run)[name] for run in runs]) for name in _success(runs[0])}
            for runs in (full, gcbc))  # fmt: skip
    found = over_episodes(first, second, "val_seen", "success")
    assert found.n == 120
    assert found.mean == pytest.approx(np.mean([a[name] - b[name] for name in a]))
    assert over_same_seeds(first, second, "val_seen", "success").mean == pytest.approx(found.mean)


def test_runs_of_other_settings_are_not_merged(make: Make) -> None:
    runs = [make(f"run-{s}", seed=s) for s in range(3)]
    config = yaml.safe_load((runs[2] / "config.yaml").read_text())
    config["network"]["hidden"] = 128
    (runs[2] / "config.yaml").write_text(yaml.safe_dump(config))
    groups = merge_seeds([read_run(run) for run in runs], NOT_LEARNT)
    assert [group.name for group in groups] == [
        "LangGoalIRL full (network.hidden=256)",
        "LangGoalIRL full (network.hidden=128)",
    ]
    assert [len(group.runs) for group in groups] == [2, 1]


def test_runners_and_seed_do_not_part_runs(make: Make) -> None:
    runs = [make(f"run-{s}", seed=s) for s in range(2)]
    config = yaml.safe_load((runs[1] / "config.yaml").read_text()) | {"runners": 2}
    (runs[1] / "config.yaml").write_text(yaml.safe_dump(config))
    assert len(merge_seeds([read_run(run) for run in runs], NOT_LEARNT)) == 1


def test_other_episodes_share_nothing(make: Make, tmp_path: Path) -> None:
    runs = [make("a"), make("b", method="gcbc")]
    for file in runs[1].glob("episodes_*.jsonl"):
        file.write_text(file.read_text().replace('"10', '"90').replace('"11', '"91'))
    html = write_comparison(runs, tmp_path / "c.html", NOT_LEARNT).read_text()
    assert "a and b are not subtracted: they were not scored on the same" in html
    assert "Paired differences" not in html and "is ahead" not in html


def test_different_data_is_said(make: Make, tmp_path: Path) -> None:
    runs = [make("a"), make("b", method="gcbc")]
    (runs[1] / "run.json").write_text(json.dumps({"data": "houses"}))
    assert (
        "differ in their data"
        in write_comparison(runs, tmp_path / "c.html", NOT_LEARNT).read_text()
    )


def test_controls_on_other_episodes_are_told_apart(make: Make, tmp_path: Path) -> None:
    """The expert's figures say whether the episodes are the same."""
    runs = [make("a"), make("b", method="gcbc")]
    for added, apart in ((0.0, False), (0.01, True)):
        for file in runs[1].glob("evaluation_*.json"):
            document, other = (json.loads((run / file.name).read_text()) for run in runs[::-1])
            document["agents"]["expert"] = other["agents"]["expert"]
            document["agents"]["expert"]["path_length"]["mean"] += added
            file.write_text(json.dumps(document))
        html = write_comparison(runs, tmp_path / "c.html", NOT_LEARNT).read_text()
        assert ("a: straight" in html, "b: straight" in html) == (apart, apart)


def test_bare_folders_and_none(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    html = write_comparison(
        [tmp_path / "a", tmp_path / "b"], tmp_path / "c.html", NOT_LEARNT
    ).read_text()
    assert "None of these runs has an evaluation" in html
    assert "a: config.yaml is missing" in html
    with pytest.raises(ValueError, match="no runs to compare"):
        write_comparison([], tmp_path / "c.html", NOT_LEARNT)


def test_runs_with_and_without_a_generator_are_compared_by_updates_of_the_policy() -> None:
    for own, first in ((16, 8.0), (None, 24.0)):
        told = {} if own is None else {"generator_updates": own}
        metrics = tuple({"updates": n, "rollout/success": 0.5, **told} for n in (24, 32))
        run = RunFolder(Path("run"), {}, {}, metrics, {}, {}, {}, (), ())
        updates, values = policy_curve(run, "rollout/success")
        assert updates.tolist() == [first, first + 8] and values.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("key", ["instruction", "reference", "scan"])
def test_episodes_of_one_name_that_differ_are_other_data(make: Make, key: str) -> None:
    runs = [make("a", iterations=3), make("b", method="gcbc", iterations=3)]
    file = runs[1] / "episodes_val_seen.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[5][key] = "another"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    a, b = merge_seeds([read_run(run) for run in runs], NOT_LEARNT)
    assert "is not the same in all of them: other data" in why_not(a, b, "val_seen")
    assert why_not(a, b, "held_out") == ""


@pytest.mark.parametrize("lacks", [0, 1])
def test_a_split_that_one_run_lacks_is_not_subtracted(make: Make, lacks: int) -> None:
    runs = [make("a", iterations=3), make("b", method="gcbc", iterations=3)]
    (runs[lacks] / "episodes_val_seen.jsonl").unlink()
    a, b = merge_seeds([read_run(run) for run in runs], NOT_LEARNT)
    assert why_not(a, b, "val_seen") == f"{'ab'[lacks]} was not scored on it"


def test_other_observations_are_not_subtracted(make: Make, tmp_path: Path) -> None:
    runs = [make("a", iterations=3), make("b", method="gcbc", iterations=3)]
    for file in runs[1].glob("evaluation_*.json"):
        file.write_text(file.read_text().replace("semantic", "rendered"))
    html = write_comparison(runs, tmp_path / "c.html", NOT_LEARNT).read_text()
    assert "a and b are not subtracted: they differ in their observations" in html
    assert "is ahead" not in html


def test_the_answer_turns_with_the_order(make: Make, tmp_path: Path) -> None:
    full = [make(f"full-{s}", seed=s, success=0.8, iterations=3) for s in range(2)]
    gcbc = [make(f"gcbc-{s}", seed=s, success=0.2, method="gcbc", iterations=3) for s in range(2)]
    for runs, said in (([full[0], gcbc[0]], "full-0"), ([gcbc[0], full[0]], "gcbc-0")):
        html = write_comparison(runs, tmp_path / "c.html", NOT_LEARNT).read_text()
        assert f"Is {said} better than" in html and "full-0 is better than gcbc-0" in html
        assert "share one seed at most" in html
    html = write_comparison(full, tmp_path / "c.html", NOT_LEARNT).read_text()
    assert "they are one method" in html and "is ahead" not in html


def test_a_difference_is_clear_where_no_interval_holds_0() -> None:
    none, clear = Interval(np.nan, np.nan, np.nan, 0), Interval(0.2, 0.1, 0.3, 50)
    wide = Interval(0.2, -0.1, 0.5, 3)
    for items, seeds, ahead in (
        (clear, none, 1), (clear, wide, 0), (wide, clear, 0), (none, none, 0), (clear, clear, 1),
        (Interval(-0.2, -0.3, -0.1, 50), none, -1),
    ):  # fmt: skip
        assert Difference("a", "b", items, seeds, ("c0", "c1")).ahead == ahead

"""Runs side by side: which are merged, and what their differences are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from rayforge.evaluation.intervals import seed_interval
from rayforge.reports.comparison import write_comparison
from rayforge.reports.groups import merge_seeds, over_episodes, over_same_seeds, over_seeds
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

"""A system from outside RayForge gets its command, run folder, resume, search and report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from rayforge.errors import ConfigurationError
from tests.trainers import toy_system
from trainers import cli
from trainers.search.config import read_search
from trainers.search.trial import FINISHED, NAMES, NUMBER, REPORT, SECONDS, START
from trainers.systems import find_system

TOY = "tests.trainers.toy_system:TOY"


def test_it_is_sixty_lines_at_most() -> None:
    assert len(Path(toy_system.__file__).read_text().splitlines()) <= 60


def test_its_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([TOY, "train", "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert "--rate" in said and "--run" in said and "Share of what is left" in said
    cli.main([TOY, "--help"])
    assert f"rayforge {TOY} report RUN" in capsys.readouterr().out


def test_a_run_that_was_broken_off_goes_on_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main([TOY, "train", "--run", str(tmp_path / "whole"), "--rate", "0.2"])
    whole = (tmp_path / "whole" / "metrics.jsonl").read_text()
    assert len(whole.splitlines()) == 8
    page = (tmp_path / "whole" / "report.html").read_text()
    assert "distance" in page and "rate: 0.2" in page and "Evaluation" not in page
    figure = {"mean": 0.25, "low": 0.125, "high": 0.5, "count": 12}
    scores = {"network": {"whole": figure}, "visible": {"whole": figure}}
    (tmp_path / "whole" / "evaluation.json").write_text(json.dumps({"scores": scores}))
    cli.main([TOY, "report", str(tmp_path / "whole")])
    page = (tmp_path / "whole" / "report.html").read_text()
    assert "[0.125, 0.500]" in page and "Means over 12 cases" in page

    reported = 0

    def broken(*arguments: Any) -> Any:
        nonlocal reported
        for figures in toy_system.train(*arguments):
            reported += 1
            if reported == 4:  # its state is on the disk, nobody took notice of it
                raise KeyboardInterrupt
            yield figures

    run = str(tmp_path / "broken")
    with monkeypatch.context() as patch:
        patch.setattr(toy_system, "TOY", toy_system.System("toy", toy_system.ToyConfig,
                      toy_system.TOY.metrics, broken))  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            cli.main([TOY, "train", "--run", run, "--rate", "0.2"])
        assert ended.value.code == 130
        assert f"go on with: rayforge {TOY} train --resume {run}" in capsys.readouterr().err
    cli.main([TOY, "train", "--resume", run])
    assert (tmp_path / "broken" / "metrics.jsonl").read_text() == whole
    with pytest.raises(SystemExit) as ended:
        cli.main([TOY, "train", "--resume", run, "--rate", "0.3"])
    assert ended.value.code == ConfigurationError.exit_code
    assert "rate was 0.2 and is now 0.3" in capsys.readouterr().err


def test_a_search_over_its_settings(tmp_path: Path) -> None:
    """Its trials one after the other, as Tune runs them, and population-based training may change
    what the configuration says may change."""
    file = tmp_path / "toys.yaml"
    document = {
        "system": TOY,
        "space": {"rate": {"uniform": [0.05, 0.5]}, "start": {"choice": [0.0, 2.0]}},
        "metrics": {"distance": "min"}, "searcher": "random", "trials": 4, "reports": 4,
    }  # fmt: skip
    file.write_text(yaml.safe_dump(document))
    plan = read_search(file, {"system": TOY})
    assert (plan.reports, plan.trials, plan.metrics) == (4, 4, {"distance": "min"})
    (tmp_path / "run").mkdir()
    trained = list(plan.system.train(plan.trial(plan.points[0]), tmp_path / "run", range(1, 5)))
    assert len(trained) == 4 and trained[3]["distance"] < trained[0]["distance"]
    assert json.loads((tmp_path / "run" / "state.json").read_text())["step"] == 40
    document |= {"scheduler": "pbt"}
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigurationError, match=r"start cannot change under way.*only rate"):
        read_search(file, {"system": TOY})


def test_what_a_search_adds_to_settings_and_figures_is_none_of_theirs() -> None:
    """The toy's setting `start` once stood in the place of what a trial goes on with."""
    for name in (NUMBER, START, REPORT, SECONDS, FINISHED, NAMES):
        assert name.startswith("rayforge_")


@pytest.mark.parametrize("place", ["tests.trainers.toy_system:train", "nowhere_at_all:TOY"])
def test_what_is_no_system_is_refused(place: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is a function|cannot be imported"):
        find_system(place)

"""Language models through the analyses: information by layer, parity by length, rounds of DPO."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rayforge.language.tiny_model import TinyModelConfig, make_tiny_model, make_tokeniser
from tests.trainers.alignment.conftest import made_up_pairs
from trainers import cli
from trainers.alignment.config import AlignConfig
from trainers.alignment.run import train
from trainers.analysis.periods import run_trial
from trainers.analysis.periods_config import PeriodsConfig, Trial


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds of a tiny model, with the information measured after each; in this process."""
    folder = tmp_path_factory.mktemp("aligned")
    for name, count, seed in (("pairs", 60, 0), ("held_out", 24, 1)):
        lines = (json.dumps(record) + "\n" for record in made_up_pairs(count, seed))
        (folder / f"{name}.jsonl").write_text("".join(lines))
    texts = [str(r[k]) for r in made_up_pairs(60, 0) for k in ("prompt", "chosen", "rejected")]
    tokeniser = make_tokeniser([*texts, " now"], 4096)
    shape = TinyModelConfig(width=32, layers=1, heads=2, context=96)
    make_tiny_model(shape, tokeniser).save_pretrained(folder / "model")
    tokeniser.save_pretrained(folder / "model")
    config = AlignConfig(
        data=str(folder / "pairs.jsonl"), evaluation=str(folder / "held_out.jsonl"),
        model=str(folder / "model"), method="iterative", rounds=2, steps=3, batch=8,
        generated_share=(0.0,), learning_rate=2e-3, evaluation_prompts=0, threads=1,
        information_every=1,
    )  # fmt: skip
    train(config, folder / "run", False, "test")
    return folder


def test_the_trace_is_recorded_after_every_round(aligned: Path) -> None:
    lines = (aligned / "run" / "metrics.jsonl").read_text().splitlines()
    found = [r for r in map(json.loads, lines) if "information/trace" in r]
    assert [record["round"] for record in found] == [0, 1, 2]
    for record in found:
        assert record["information/trace"] > 0 and record["information/layer_0"] > 0
    assert "Trace of the Fisher information" in (aligned / "run" / "report.html").read_text()


def test_information_by_layer(aligned: Path, tmp_path: Path) -> None:
    cli.main(["analyse", "information", str(aligned / "run"), "--probe", "80", "--batches", "2",
              "--out", str(tmp_path)])  # fmt: skip
    stages = json.loads((tmp_path / "information.json").read_text())["stages"]
    assert [stage["stage"] for stage in stages] == ["round 1", "round 2"]
    assert "layer 0" in stages[0]["modules"] and stages[0]["trace"]["mean"] > 0


def test_parity_by_length(aligned: Path, tmp_path: Path) -> None:
    cli.main(["analyse", "parity", str(aligned / "run"), "--attribute", "length",
              "--out", str(tmp_path)])  # fmt: skip
    rules = json.loads((tmp_path / "parity_length.json").read_text())["rules"]
    assert {"as it is", "length control", "second head, f + b g + c",
            "regularised last layer"} <= set(rules)  # fmt: skip


def test_labels_turned_round_in_one_round(aligned: Path) -> None:
    base = {
        "data": str(aligned / "pairs.jsonl"), "evaluation": str(aligned / "held_out.jsonl"),
        "model": str(aligned / "model"),
    }  # fmt: skip
    config = PeriodsConfig(
        "routes", subject="preferences", deficit="flipped:5", clean=2, length=1, onsets=(0, 1),
        updates=3, base=base,
    )  # fmt: skip
    control = run_trial(Trial(config, "control", "constant", 0, 0, 0))
    damaged = run_trial(Trial(config, "damaged", "constant", 0, 2, 0))
    assert len(control["curve"]) == 2 and control["score"] > damaged["score"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["parity", "RUN", "--attribute", "room"], "unknown attribute 'room' of a language"),
        (["tasks", "RUN", "--out", "x"], "is a language model's run: tasks needs an agent's"),
    ],
)
def test_a_run_of_another_system_is_refused(
    arguments: list[str], message: str, aligned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(aligned / "run")
    with pytest.raises(SystemExit) as ended:
        cli.main(["analyse", *[run if word == "RUN" else word for word in arguments]])
    said = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code in (2, 4) and message.replace("RUN", run) in said[-1]


def test_transfer_of_language_models(aligned: Path, tmp_path: Path) -> None:
    import shutil

    for name in ("one", "two"):
        shutil.copytree(aligned / "run", tmp_path / name / "run")
    shutil.rmtree(tmp_path / "two" / "run" / "rounds" / "2")
    runs = [str(aligned / "run"), str(tmp_path / "one"), str(tmp_path / "two")]
    words = [f"{name}:{level}" for name in ("dropped", "misheard", "shuffled") for level in (1, 5)]
    targets = [{"data": str(aligned / "pairs.jsonl")}, *({"words": shift} for shift in words)]
    file = tmp_path / "grid.yaml"
    file.write_text(json.dumps({"runs": runs, "targets": targets, "pairs": 20}))
    cli.main(["analyse", "transfer", str(file), "--out", str(tmp_path / "out")])
    found = json.loads((tmp_path / "out" / "transfer.json").read_text())
    assert found["runs"] == 3 and len(found["rows"]) == 3 * 8 and found["base"] == "iterative"
    rows = {(row["run"], row["target"]): row for row in found["rows"]}
    names = sorted({run for run, _ in rows})
    assert len(names) == 3 and all(name.endswith("/run") for name in names)
    same, one, two = (n for last in ("", "one/run", "two/run") for n in names if
                      (n == last or (not last and n not in ("one/run", "two/run"))))  # fmt: skip
    for target in found["targets"]:
        assert {**rows[same, target], "run": "", "trial": ""} == {
            **rows[one, target], "run": "", "trial": ""
        }  # fmt: skip
    assert rows[two, "home"]["nats"] != rows[one, "home"]["nats"]
    assert all(0 <= r["accuracy"] <= 1 and 0 <= r["ece"] <= 1 for r in rows.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": []}, "targets is empty"),
        ({"targets": [{}]}, "is the run's home"),
        ({"targets": [{"words": "droped:2"}]}, "did you mean dropped"),
        ({"targets": [{"words": "dropped:2"}, {"words": "dropped:2"}]}, "stands twice"),
        ({"targets": [{"data": "nowhere.jsonl"}]}, "nowhere.jsonl does not exist"),
        ({"targets": [{"routes": {"seed": 1}}]}, 'settings of data "routes" alone'),
        ({"targets": [{"data": "routes", "routes": {"sed": 1}}]}, "did you mean .*seed"),
        ({"targets": [{"chosen": "longest"}]}, "longer"),
        ({"data": "houses"}, "data"),
        ({"pairs": 3}, "pairs must be at least 10"),
        ({}, "three runs at least, got 1"),
    ],
)
def test_a_bad_grid_of_language_models_is_one_line(
    changes: dict[str, object], message: str, aligned: Path, tmp_path: Path
) -> None:
    from rayforge.errors import UserError
    from trainers.analysis.transfer import analyse_transfer

    file = tmp_path / "grid.yaml"
    whole = {"runs": [str(aligned / "run")], "targets": [{"words": "dropped:2"}], **changes}
    file.write_text(json.dumps(whole))
    with pytest.raises(UserError, match=message):
        analyse_transfer(file, tmp_path / "out", 0, "test")


def test_words_of_prompts_are_shifted() -> None:
    from envs.shifts.shift import Shift
    from rayforge.alignment.preferences import Preference
    from trainers.analysis.transfer_language import shifted_texts, with_shifted_prompts

    texts = ["walk to the big kitchen and stop there please", "", "one"] * 30
    for name in ("dropped", "misheard", "shuffled"):
        weak = shifted_texts(texts, Shift(name, 1), 0)
        strong = shifted_texts(texts, Shift(name, 5), 0)
        assert weak == shifted_texts(texts, Shift(name, 1), 0)
        changed = [sum(a != b for a, b in zip(texts, some, strict=True)) for some in (weak, strong)]
        assert 0 < changed[0] < changed[1]
        assert [bool(text) for text in strong] == [bool(text) for text in texts]
    assert sorted(strong[0].split()) == sorted(texts[0].split())
    talk = [{"role": "system", "content": "be kind"}, {"role": "user", "content": texts[0]}]
    pair = Preference(talk, "a", "b")
    (found,) = with_shifted_prompts([pair], Shift("dropped", 5), 1)
    assert found.prompt[0] == talk[0] and found.chosen == "a"
    assert len(found.prompt[1]["content"]) < len(texts[0])

"""Judges that a user names: their protocol, tried before training; and never from a file."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from rayforge.errors import ConfigurationError, MachineError, UserError
from trainers.alignment.config import AlignConfig
from trainers.alignment.evaluate import evaluate_against
from trainers.alignment.judging import (
    CommandJudge,
    FunctionJudge,
    Judge,
    ScoringJudge,
    named_judge,
)
from trainers.alignment.named_code import confirmed, recorded, runs_code, without_commands
from trainers.alignment.outside import FunctionJob
from trainers.alignment.python_function import PythonFunction
from trainers.alignment.run import train
from trainers.cli import main
from trainers.search.config import SearchConfig, make_search

EXAMPLE = ("Where?", "here", "there, I think")

MODULE = """
def shortest(prompts, responses):
    return [-len(r) for r in responses]

def first_word(prompts, first, second, *, strict=False):
    return ["first" if a < b else "second" if b < a else "tie" for a, b in zip(first, second)]

def broken(prompts, responses):
    raise RuntimeError("out of words")

def short(prompts, responses):
    return [1.0]

def nothing(prompts, responses):
    return [None for _ in responses]

def text(prompts, first, second):
    return ["better" for _ in first]

def one(prompts):
    return 1

number = 3

def as_text(prompts, responses):
    return "10"

def as_dict(prompts, responses):
    return {0: 0.5, 1: 0.7}

def as_set(prompts, first, second):
    return {"first", "tie"}

def single(prompts, responses):
    return 0.5

def leaves(prompts, responses):
    raise SystemExit(3)

def silent(prompts, responses):
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError
    raise Silent

def huge(prompts, responses):
    return [10 ** 400, 1]

def endless(prompts, responses):
    while True:
        yield 1.0

def column(prompts, responses):
    import torch
    return torch.tensor([[1.0], [2.0]], requires_grad=True)

def changes(prompts, responses):
    return [float(len(prompt.pop()["content"])) for prompt in prompts[:1]] + [2.0]
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_judge.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_judge", raising=False)
    return "my_judge"


def judge_of(name: str) -> Judge:
    found = named_judge(name, "cpu", EXAMPLE)
    assert found is not None
    return found


def test_a_command_that_answers_numbers_scores(tmp_path: Path) -> None:
    program = tmp_path / "judge.py"
    program.write_text(
        "import json, sys\nfor line in sys.stdin: print(-len(json.loads(line)['response']))\n"
    )
    judge = judge_of(f"command: {sys.executable} {program}")
    assert isinstance(judge, ScoringJudge)
    assert judge.score(["p", "q"], ["abc", "a"]).tolist() == [-3, -1]
    assert judge.wins(["p"], ["abc"], ["a"]).tolist() == [[0, 0]]
    assert str(program) not in judge.name


def test_a_command_that_compares_is_asked_in_both_orders(tmp_path: Path) -> None:
    program = tmp_path / "judge.py"
    program.write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    asked = json.loads(line)\n"
        "    a, b = asked['first'], asked['second']\n"
        "    print('first' if len(a) < len(b) else 'tie' if len(a) == len(b) else 'second')\n"
    )
    judge = judge_of(f"command: {sys.executable} {program}")
    assert isinstance(judge, CommandJudge)
    assert judge.wins(["p", "p"], ["a", "ab"], ["ab", "cd"]).tolist() == [[1, 1], [0.5, 0.5]]
    always_first = CommandJudge("sed s/.*/first/")
    assert always_first.wins(["p"], ["a"], ["b"]).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("cat", "answered '{"),
        ("head -n 1 | sed s/.*/tie/", "answered 1 lines to 2 questions"),
        ("echo broken >&2; exit 3", "ended with code 3: broken"),
        ("/no/such/program", "ended with code 127"),
    ],
)
def test_a_command_that_does_not_keep_the_protocol(command: str, said: str) -> None:
    with pytest.raises(MachineError, match="must answer every line") as caught:
        judge_of(f"command: {command}")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("answer", ["nan", "1e400", "-inf"])
def test_a_command_that_scores_without_a_number(answer: str) -> None:
    with pytest.raises(MachineError, match="must give one finite number a response") as caught:
        judge_of(f"command: sed s/.*/{answer}/")
    assert f"it gave ['{answer}'" in str(caught.value)


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_command_that_writes_without_end_is_ended(
    stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.alignment.command_line.OUTPUT_MOST", 10_000)
    with pytest.raises(MachineError, match=r"wrote more than .* and was ended"):
        judge_of(f"command: yes >&{stream}")


@pytest.mark.parametrize(
    "code",
    ["def f(p, r) return 1", "raise RuntimeError('no licence')", "import sys; sys.exit('usage')"],
    ids=["syntax", "raises", "exits"],
)
def test_a_module_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    (tmp_path / "broken_judge.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(ConfigurationError, match="module broken_judge cannot be imported"):
        judge_of("broken_judge:f")


def test_what_a_function_gives_and_changes(module: str) -> None:
    judge = judge_of(f"{module}:column")
    assert isinstance(judge, ScoringJudge)
    assert judge.score(["p", "p"], ["a", "b"]).tolist() == [1.0, 2.0]
    prompt = [{"role": "user", "content": "abc"}]
    job = FunctionJob(f"{module}:changes")
    assert job.load()([(prompt, "a"), (prompt, "b")]).tolist() == [3.0, 2.0]
    assert prompt == [{"role": "user", "content": "abc"}]
    with pytest.raises(MachineError, match="the score `my_judge:leaves` raised SystemExit: 3"):
        FunctionJob(f"{module}:leaves").load()([(prompt, "a")])


def test_a_command_that_hangs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trainers.alignment.command_line.SILENT_S", 0.2)
    monkeypatch.setattr("trainers.alignment.command_line.NOTICE_S", 0.1)
    monkeypatch.setattr("trainers.alignment.command_line.LOOK_S", 0.05)
    mark = tmp_path / "hung"
    with pytest.raises(MachineError, match="answered 1 lines to 2 questions, wrote nothing for"):
        judge_of(f"command: echo first; sleep 30; touch {mark}")
    assert "waiting for the judge's command: 6 bytes so far" in capsys.readouterr().err
    assert not mark.exists()


def test_python_functions_judge(module: str) -> None:
    judge = judge_of(f"{module}:shortest")
    assert isinstance(judge, ScoringJudge)
    assert judge.score(["p", "p"], ["ab", "c"]).tolist() == [-2, -1]
    judge = judge_of(f"{module}:first_word")
    assert isinstance(judge, FunctionJudge)
    assert judge.wins(["p", "p"], ["a", "b"], ["b", "b"]).tolist() == [[1, 1], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", "raised RuntimeError: out of words"),
        ("as_text", "gave '10', of type str; it must give a list"),
        ("as_dict", "gave {0: 0.5, 1: 0.7}, of type dict"),
        ("as_set", "of type set"),
        ("single", "gave 0.5, of type float"),
        ("leaves", "raised SystemExit: 3"),
        ("silent", "raised Silent: it does not say why"),
        ("huge", "must give one finite number a response"),
        ("endless", "must give one finite number a response: it gave [1.0, 1.0, 1.0]"),
        ("short", "must give one finite number a response: it gave [1.0] for 2 responses"),
        ("nothing", "must give one finite number a response"),
        ("text", "answered 'better'"),
        ("one", "takes 1 arguments"),
        ("number", "is no function"),
        ("absent", "has no attribute 'absent'"),
    ],
)
def test_python_functions_that_do_not_judge(name: str, said: str, module: str) -> None:
    with pytest.raises(UserError) as caught:
        judge_of(f"{module}:{name}")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.ray
def test_with_ray_a_function_runs_in_an_actor(cluster: None, tmp_path: Path) -> None:
    (tmp_path / "remote_judge.py").write_text(
        "import os\ndef process(prompts, responses): return [os.getpid() for _ in responses]\n"
    )
    function = PythonFunction("remote_judge:process", str(tmp_path))
    first, again = function(["p"], ["a"]), function(["p"], ["a"])
    assert first == again != [__import__("os").getpid()]
    import ray

    with pytest.raises(ConfigurationError, match="has no attribute 'nothing'"):
        PythonFunction("remote_judge:nothing", str(tmp_path))(["p"], ["a"])
    ray.kill(function._actor)
    with pytest.raises(ray.exceptions.RayActorError):
        while True:  # a kill takes a moment
            ray.get(function._actor.here.remote([["p"], ["a"]]))
    assert function(["p"], ["a"]) != first  # one that died is replaced


def test_reviews_and_pairs_use_a_functions_scores(
    small: AlignConfig, module: str, tmp_path: Path
) -> None:
    config = replace(
        small, rounds=2, judge=f"{module}:shortest", score="judge", steps=1,
        generated_share=(0.0, 0.5),
    )  # fmt: skip
    train(config, tmp_path / "run", False, "test")
    review = json.loads((tmp_path / "run/rounds/2/review.json").read_text())
    assert review["review/greedy_score"] < 0
    assert "review/win_rate" in review


SECRET = "command: TOKEN=s3cr3t sed s/.*/tie/"


def test_what_runs_code_is_known_and_shown_short() -> None:
    for judge in ("command: x", "command:x", "a.b:c", "json:loads"):
        assert runs_code(judge)
    for judge in ("", "execution", "folder/model", "C:/models", "a:b:c", "../x:y"):
        assert not runs_code(judge)
    assert recorded(SECRET).startswith("command: sed … (sha256 ")
    assert recorded(recorded(SECRET)) == recorded(SECRET)
    assert recorded("a:b") == "a:b"
    assert recorded("command: a b") != recorded("command: a c")
    line = without_commands(f"rayforge align train --judge '{SECRET}' --seed 1", SECRET)
    assert "s3cr3t" not in line and "--seed 1" in line
    assert "s3cr3t" not in without_commands(f"x '--judge={SECRET}'", SECRET)


def test_code_in_a_file_must_be_named_again() -> None:
    assert confirmed("", "", "f") == ""
    assert confirmed("folder", "", "f") == "folder"
    assert confirmed(SECRET, SECRET, "f") == SECRET
    for judge, again in ((SECRET, '--judge "command: ..."'), ("a:b", "--judge MODULE:FUNCTION")):
        with pytest.raises(ConfigurationError, match=r"f names .* as judge") as caught:
            confirmed(judge, "", "f")
        assert again in str(caught.value)
        assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("key", ["command: touch {}", "poison:run"])
def test_a_poisoned_run_folder_runs_nothing(
    key: str, small: AlignConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """`align evaluate`, `--resume`, `--config` and `tune` of somebody else's files."""
    marker = tmp_path / "marker"
    (tmp_path / "poison.py").write_text(f"open({str(marker)!r}, 'w')\ndef run(a, b): return a\n")
    monkeypatch.chdir(tmp_path)
    judge = key.format(marker)
    run = tmp_path / "run"
    (run / "rounds/1/model").mkdir(parents=True)
    settings = {"judge": judge, "data": small.data, "model": small.model}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    (run / "run.json").write_text("{}")
    search = tmp_path / "search.yaml"
    search.write_text(
        yaml.safe_dump(
            {"system": "align", "base": settings, "metrics": {"win_rate": "max"},
             "space": {"beta": {"uniform": [0.1, 0.2]}}}
        )
    )  # fmt: skip
    commands: list[list[str]] = [
        ["align", "evaluate", str(run), "--against", str(run)],
        ["align", "train", "--resume", str(run)],
        ["align", "train", "--config", str(run / "config.yaml"), "--run", str(tmp_path / "new")],
        ["tune", str(search)],
    ]
    for arguments in commands:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        said = capsys.readouterr().err
        assert caught.value.code == 2, said
        assert "as judge" in said and said.count("\n") == 1
        assert str(marker) not in said
        assert not marker.exists()
    choices: dict[str, Any] = {"system": "align", "space": {"judge": {"choice": ["", judge]}},
                               "metrics": {"review/accuracy": "max"}}  # fmt: skip
    with pytest.raises(ConfigurationError, match="names code as judge"):
        make_search(SearchConfig(**choices), tmp_path)


def test_a_command_named_again_goes_on_and_stands_in_no_file(
    small: AlignConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    config = replace(small, rounds=1, steps=1, judge=SECRET)
    train(config, run, False, f"rayforge align train --judge '{SECRET}'")
    train(config, run, True, "test")
    with pytest.raises(ConfigurationError, match="judge was 'command: sed") as caught:
        train(replace(config, judge="command: sed s/.*/first/"), run, True, "test")
    assert "s3cr3t" not in str(caught.value)
    evaluate_against(run, Path(small.model), SECRET, f"x --judge '{SECRET}'")
    out = capsys.readouterr()
    assert "s3cr3t" not in out.out + out.err
    for file in run.rglob("*"):
        assert not file.is_file() or b"s3cr3t" not in file.read_bytes(), file


def test_the_step_size_is_that_of_the_kind_and_stands_in_the_files(
    small: AlignConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = [AlignConfig(), AlignConfig(lora_rank=8), AlignConfig(model="a/b")]
    assert [config.step_size for config in kinds] == [1.5e-4, 1e-4, 5e-6]
    assert AlignConfig(learning_rate=1.0).step_size == 1.0
    run = tmp_path / "run"
    config = replace(small, rounds=1, evaluation_prompts=0, learning_rate=None)
    train(config, run, False, "test")
    out = capsys.readouterr()
    assert "learning rate 5e-06 (default of a pretrained model, all weights)" in out.out
    assert yaml.safe_load((run / "config.yaml").read_text())["learning_rate"] == 5e-6
    assert json.loads((run / "run.json").read_text())["learning_rate"] == 5e-6
    train(config, run, True, "test")  # under its own settings
    assert "warning: round 1 left the loss at 0.69" in out.err
    assert "raise learning_rate (now 5e-06)" in out.err
    train(replace(config, learning_rate=5e-3, steps=16), tmp_path / "fast", False, "test")
    assert "left the loss" not in capsys.readouterr().err

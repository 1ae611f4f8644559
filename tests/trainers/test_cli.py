"""The command: help that is fast, exit codes, and errors of one line without a traceback."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from rayforge.errors import (
    EXIT_CODES,
    ConfigurationError,
    DataError,
    DivergedError,
    MachineError,
    RunError,
    SceneError,
    UserError,
)
from rayforge.settings import MAIN, everything, settings_with
from trainers import cli
from trainers.alignment.config import AlignConfig
from trainers.amodal.config import VideoConfig
from trainers.cli import COMMANDS, HELP, main
from trainers.configuration import to_yaml
from trainers.irl.config import IRLConfig


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trainers.cli", *arguments], capture_output=True, text=True
    )


def failing(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and standard error of a command that ends in an error."""
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code, capsys.readouterr().err


def one_line(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of an error that the user can mend."""
    return coded_line(capsys, *arguments)[1]


def coded_line(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Its exit code as well."""
    code, error = failing(capsys, *arguments)
    assert code in (2, 3, 4)
    assert error.startswith("rayforge: ")
    assert error.count("\n") == 1, error
    return code, error


def test_exit_codes_tell_kinds_of_errors_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in (ConfigurationError, DataError, SceneError, RunError, DivergedError, MachineError):

        def broken(*arguments: object, kind: type[UserError] = kind) -> None:
            raise kind("what and where")

        monkeypatch.setattr("trainers.irl.run.train", broken)
        code, error = failing(capsys, "irl", "train", "--run", tmp_path / "run")
        assert (code, error) == (kind.exit_code, "rayforge: what and where\n")
        assert f"{code}    {EXIT_CODES[code]}" in HELP
    assert coded_line(capsys, "irl", "train", "--gamma", "2", "--run", tmp_path / "run")[0] == 2
    nowhere = ("irl", "train", "--data", tmp_path / "nowhere", "--run", tmp_path / "run")
    monkeypatch.undo()
    assert coded_line(capsys, *nowhere)[0] == 3
    assert coded_line(capsys, "irl", "train", "--resume", tmp_path)[0] == 4


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_help_of_every_command(name: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert helped(capsys, *name, "--help").startswith(f"usage: rayforge {' '.join(name)} ")


def test_help_names_every_command_and_imports_nothing_slow() -> None:
    script = (
        "import sys; from trainers.cli import HELP, main\n"
        "code = main(['--help'])\n"
        "slow = {'torch', 'ray', 'matplotlib', 'h5py', 'tensorboard'} & set(sys.modules)\n"
        "sys.exit(f'imported {slow}' if slow else code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert f"rayforge {' '.join(name)}" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["irl", "trian"], "no command 'irl trian'; did you mean: rayforge irl train"),
        (["irl"], "irl needs a command: irl train, irl evaluate"),
        (["train"], "did you mean: rayforge irl train"),
        (["tun", "x.yaml"], "no command 'tun'; did you mean: rayforge tune"),
        (["reprot", "runs/a", "runs/b"], "did you mean: rayforge report"),
        (["--verson"], "there is no command '--verson'"),
        (["fly"], "there is no command 'fly': rayforge --help names them all"),
    ],
)
def test_a_command_that_is_not_there_is_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    code, error = coded_line(capsys, *words)
    assert code == 2
    assert said in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["irl", "train", "--learning-rate", "abc"], "parsing --learning-rate: could not convert"),
        (["irl", "train", "--lerning-rate", "1"], "did you mean --learning-rate?"),
        (["irl", "train", "--method", "sera"], "invalid choice 'sera' for argument '--method'"),
        (["irl", "train", "--updates", "1e3"], "error parsing --updates"),
        (["irl", "train", "--data"], "missing value for argument '--data'"),
        (["irl", "train", "runs/a"], "unrecognized options: runs/a"),
        (["align", "evaluate", "runs/a"], "missing from rayforge align evaluate: --against PATH"),
        (["align", "train", "--evaluaton", "x"], "did you mean --evaluation?"),
        (["tune"], "missing from rayforge tune: PATH The search file."),
        (["tests.trainers.toy_system:TOY", "train", "--steps", "abc"], "error parsing --steps"),
    ],
)
def test_words_that_a_command_does_not_take_are_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    code, error = coded_line(capsys, *words)
    assert code == 2
    assert said in error
    assert error.endswith("--help\n")


@pytest.mark.parametrize("group", sorted({name[0] for name in COMMANDS if len(name) == 2}))
def test_a_group_of_commands_has_its_help(capsys: pytest.CaptureFixture[str], group: str) -> None:
    main([group, "--help"])
    said = capsys.readouterr().out
    for name in COMMANDS:
        assert (f"  rayforge {' '.join(name)}" in said) == (name[0] == group)


def test_what_is_no_run_folder_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere, run = tmp_path / "nowhere", tmp_path / "run"
    for command in (["irl", "evaluate"], ["irl", "watch"], ["irl", "reward"]):
        code, error = coded_line(capsys, *command, nowhere, "--split", "val_seen")
        assert (code, "there is no such folder" in error) == (4, True)
    run.mkdir()
    code, error = coded_line(capsys, "irl", "watch", run, "--split", "val_seen")
    assert (code, "it has no config.yaml" in error) == (4, True)
    (run / "config.yaml").write_text(to_yaml(IRLConfig()))
    (run / "run.json").write_text('{"command": "rayforge irl train --run run"}')
    for words in (["align", "train", "--resume", run], ["amodal", "evaluate", run],
                  ["feedback", "loop", "--resume", run]):  # fmt: skip
        code, error = coded_line(capsys, *words)
        assert (code, "another system" in error) == (4, True)
        assert "it was made by rayforge irl train" in error
    (run / "config.yaml").write_text(to_yaml(VideoConfig()))
    (run / "run.json").write_text('{"command": "rayforge amodal train --run run"}')
    for words in (["irl", "watch", run], ["irl", "plan", run], ["analyse", "information", run],
                  ["analyse", "parity", run, "--attribute", "room"], ["plan", run],
                  ["analyse", "tasks", run, "--out", tmp_path / "out"],
                  ["report", run, nowhere]):  # fmt: skip
        assert "amodal train" in one_line(capsys, *words) or words[0] in ("plan", "report")
    assert not (tmp_path / "out").exists()
    main(["report", str(run)])  # its own report, and not an agent's
    assert "least_hidden" in (run / "report.html").read_text()
    (run / "config.yaml").write_text(to_yaml(IRLConfig()))
    assert "named twice" in one_line(capsys, "report", run, run / ".." / "run")


def test_a_file_in_the_place_of_a_data_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "R2R_train.json"
    file.write_text("[]")
    error = one_line(capsys, "irl", "train", "--data", file, "--run", tmp_path / "run")
    assert "is a file; name the folder that holds it" in error


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_told_before_a_run_folder_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = one_line(capsys, "irl", "train", "--device", "cuda", "--run", tmp_path / "run")
    assert "there is no GPU here" in error
    assert not (tmp_path / "run").exists()


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"rayforge {version('rayforge')}\n"


def test_a_reader_that_is_gone_is_no_traceback() -> None:
    script = f"{sys.executable} -m trainers.cli --help | head -1; echo ${{PIPESTATUS[0]}}"
    long = script.replace("--help", "irl train --help")
    for command in (script, long):
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert not done.stderr
        assert done.stdout.splitlines()[-1] in ("0", "141")


def test_wrong_usage_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, error = failing(capsys)
    assert code == 2
    assert "usage: rayforge COMMAND" in error
    code, _ = failing(capsys, "irl", "evaluate")  # RUN and --split are missing
    assert code == 2
    code, error = failing(capsys, "irl", "train", "--learning-rat", "1")
    assert code == 2
    assert "learning-rat" in error


def helped(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command prints when it is asked for help."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_settings_are_options_with_their_documentation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = " ".join(helped(capsys, "irl", "train", "--help-all").split())
    for text in (
        "--[no-]potential-shaping", "--network.hidden N", "--generator.top-p X", "--houses.seed",
        "--resume PATH", "Share of the critics that flows into their targets each update. [0.01]",
        "--simulation.camera.width N",
    ):  # fmt: skip
        assert text in told
    words = (word for word in told.split() if word.startswith("--"))
    listed = {word.removeprefix("--").replace("[no-]", "").replace("-", "_") for word in words}
    assert set(everything(IRLConfig)) <= listed


@pytest.mark.parametrize("system", ["irl", "align"])
def test_the_short_form_has_the_main_settings_in_groups(
    system: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")  # other tests may have set it
    short, long = (helped(capsys, system, "train", flag) for flag in ("--help", "--help-all"))
    assert len(short.splitlines()) < 100 < len(long.splitlines())
    kind: type = IRLConfig if system == "irl" else AlignConfig
    for name in settings_with(kind, MAIN):
        assert f"--{name.replace('_', '-')} " in short
    assert "--help-all has all" in short and "\nMachine and record\n" in short
    assert "--network.hidden" not in short and max(map(len, long.splitlines())) <= 100


def test_help_shows_what_a_file_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text("updates: 77\n")
    said = helped(capsys, "irl", "train", "--config", str(tmp_path / "run.yaml"), "-h")
    assert "[77]" in said
    assert "RUN --split TEXT [SETTINGS]" in helped(capsys, "irl", "evaluate", "--help")


def test_a_missing_data_folder_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = one_line(
        capsys, "irl", "train", "--data", tmp_path / "nowhere", "--run", tmp_path / "run"
    )
    assert str(tmp_path / "nowhere") in error
    assert "rayforge houses" in error, "the remedy"


def test_a_run_needs_a_folder_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = one_line(capsys, "irl", "train")
    assert "--run" in error
    assert "--resume" in error
    (tmp_path / "config.yaml").write_text(to_yaml(IRLConfig()))
    both = one_line(capsys, "irl", "train", "--run", tmp_path / "a", "--resume", tmp_path)
    assert both == error
    taken = one_line(capsys, "irl", "train", "--run", tmp_path)
    assert "holds a run already" in taken
    assert "--resume" in taken
    (tmp_path / "file").write_text("")
    blocked = one_line(capsys, "irl", "train", "--run", tmp_path / "file" / "run")
    assert "cannot be made: Not a directory" in blocked


def test_a_setting_out_of_its_range_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = one_line(capsys, "irl", "train", "--gamma", "2", "--run", tmp_path / "run")
    assert "gamma must be in [0, 1], got 2.0" in error
    assert not (tmp_path / "run").exists()


def test_a_configuration_file_is_the_starting_point(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"data: {tmp_path / 'from the file'}\n")
    run_folder = ["--run", tmp_path / "run"]
    for words in (["--config", file], [f"--config={file}"]):
        assert "from the file" in one_line(capsys, "irl", "train", *words, *run_folder)
    other = ["--data", tmp_path / "from the line"]
    error = one_line(capsys, "irl", "train", "--config", file, *other, *run_folder)
    assert "from the line" in error, "what is said on the line has the last word"
    file.write_text("batsch: 3\n")
    error = one_line(capsys, "irl", "train", "--config", file, *run_folder)
    assert "unknown setting batsch; did you mean batch?" in error
    assert str(file) in error
    assert "needs a value" in one_line(capsys, "irl", "train", "--config")
    error = one_line(capsys, "irl", "train", "--config", file, "--resume", tmp_path)
    assert "drop --config" in error


@pytest.mark.parametrize(
    "command", [("irl", "evaluate", "RUN", "--split", "val_seen"), ("irl", "watch", "RUN"),
                ("report", "RUN"), ("irl", "train", "--resume", "RUN")],
    ids=" ".join,
)  # fmt: skip
def test_a_folder_without_a_run_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    words = [str(tmp_path) if word == "RUN" else word for word in command]
    error = one_line(capsys, *words)
    assert str(tmp_path) in error
    assert "config.yaml" in error


def test_houses_are_written_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "houses"
    sizes = ["--train-houses", "1", "--unseen-houses", "1", "--paths-per-house", "2"]
    main(["houses", str(folder), *sizes, "--seed", "3"])
    told = capsys.readouterr().out
    assert f"{folder}: 2 houses" in told
    assert "train: 2 paths, 6 instructions" in told
    assert (folder / "R2R_train.json").is_file()
    error = one_line(capsys, "houses", folder, "--train-houses", "0")
    assert "train_houses" in error


def test_errors_that_are_no_users_keep_their_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("trainers.irl.run.train", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["irl", "train", "--run", str(tmp_path / "run")])


def test_an_interrupted_command_exits_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trainers.irl.run.train", interrupted)
    code, error = failing(capsys, "irl", "train", "--run", tmp_path / "run")
    assert code == 130
    assert error == "rayforge: interrupted\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--score", "follower:nowhere"], "follower nowhere is no run of `rayforge irl train`"),
        (["--score=follower:nowhere"], "follower nowhere is no run"),
        (["--score", "follower:nowhere", "--method", "dpo"], "use --method acting"),
        (["--score", "margin"], "score 'margin' is none of implicit"),
        (["--judge", "nowhere"], "judge 'nowhere' is neither execution"),
    ],
)
def test_a_score_from_outside_is_reviewed_by_acting_and_looked_for_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in one_line(capsys, "align", "train", *words, "--run", "run")


def test_an_old_name_of_a_command_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = failing(capsys, "irl", "evidence", tmp_path / "nowhere")
    assert code == 4
    assert "irl evidence is an old name: write rayforge irl reward" in error


@pytest.mark.parametrize(
    "command", [["report"], ["irl", "watch"], ["amodal", "watch"], ["analyse", "information"]]
)
@pytest.mark.parametrize("name", ["x" * 300, "a" * 5000, "loop", "file/below"])
def test_names_that_no_folder_can_have_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    command: list[str], name: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("file").touch()
    with pytest.raises(SystemExit) as stopped:
        main([*command, name])
    assert stopped.value.code in (RunError.exit_code, ConfigurationError.exit_code)
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and len(said) < 500


@pytest.mark.parametrize(
    ("number", "said", "kind"),
    [(errno.ENAMETOOLONG, "name another place", ConfigurationError),
     (errno.ELOOP, "name another place", ConfigurationError),
     (errno.ENOSPC, "free some disk space", MachineError),
     (errno.EROFS, "the right to", MachineError)],
)  # fmt: skip
def test_what_the_system_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    number: int, said: str, kind: type[UserError],
) -> None:  # fmt: skip
    def refuse(given: list[str]) -> None:
        raise OSError(number, "Refused", "a\nb" * 100)

    monkeypatch.setattr("trainers.cli._run", refuse)
    with pytest.raises(SystemExit) as stopped:
        main(["doctor"])
    assert stopped.value.code == kind.exit_code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0] and len(lines[0]) < 250


@pytest.mark.parametrize(
    ("start", "command"),
    [
        ("", "--version >&-"),
        ("", "--version <&- >&- 2>&-"),
        ("COLUMNS=20", "irl train --help"),
        ("COLUMNS=1", "align train --help-all"),
        ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 PYTHONIOENCODING=ascii", "report ü"),
    ],
    ids=["no stdout", "no streams", "narrow", "narrowest", "ascii"],
)
def test_odd_terminals(start: str, command: str, tmp_path: Path) -> None:
    run = tmp_path / "ü"
    run.mkdir()
    (run / "config.yaml").write_text(to_yaml(VideoConfig()))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        f"{start} {sys.executable} -m trainers.cli {command}", shell=True, cwd=tmp_path,
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_library_that_finds_no_room_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(given: list[str]) -> None:
        raise ImportError("libtorch_cpu.so: failed to map segment from shared object")

    monkeypatch.setattr(cli, "_run", fail)
    with pytest.raises(SystemExit) as caught:
        main(["doctor"])
    assert caught.value.code == MachineError.exit_code
    said = capsys.readouterr().err
    assert said.startswith("rayforge: a library cannot be loaded (libtorch") and "ulimit -v" in said

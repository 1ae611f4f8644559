"""Judges of responses: by execution, by a reward model's folder, by a command or a Python function
that the user names on the command line.

A command (`--judge "command: PROGRAM ..."`) is run by the shell. It reads JSON lines and answers
each with a line. Asked for scores, it reads `{"prompt": ..., "response": ...}` and answers a
number, higher is better. A program that answers these questions with anything else is asked to
compare: it reads `{"prompt": ..., "first": ..., "second": ...}` and answers `first`, `second` or
`tie`; each pair is asked in both orders. A prompt is a text or a list of messages.

A program that writes nothing for half an hour, or more than 64 MiB, is ended; one that thinks for
longer writes its answers as it has them.

A function (`--judge MODULE:FUNCTION`) takes (prompts, responses) and gives numbers, or takes
(prompts, first, second) and gives "first", "second" or "tie" for each.

Each judge is tried once before anything is trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from rayforge.errors import ConfigurationError, MachineError
from rayforge.evaluation.win_rate import win_rate_from_success
from rayforge.readers.faults import shown
from rayforge.readers.limits import size
from trainers.alignment.command_line import OUTPUT_MOST, SILENT_S, run_command
from trainers.alignment.named_code import COMMAND, is_function, recorded
from trainers.alignment.python_function import PythonFunction

Prompt = Any
"""Text, or a list of messages."""
Example = tuple[Prompt, str, str]
"""A prompt and two responses that a judge is tried on."""


class Judge(Protocol):
    """Says which of two responses to a prompt is better."""

    @property
    def name(self) -> str:
        """As a report calls it."""

    def wins(
        self, prompts: Sequence[Prompt], ours: Sequence[str], theirs: Sequence[str]
    ) -> np.ndarray:
        """float64 [n, 2]: 1 where ours wins, 0 where theirs does, 0.5 for a tie; in both orders."""


@dataclass(frozen=True)
class ScoringJudge:
    """Scores each response alone, so the order of the two cannot matter."""

    name: str
    score: Callable[[Sequence[Prompt], Sequence[str]], np.ndarray]
    """float64 [n] of prompts and responses."""
    succeeds: bool
    """Whether a score is success (1) or failure (0)."""

    def wins(
        self, prompts: Sequence[Prompt], ours: Sequence[str], theirs: Sequence[str]
    ) -> np.ndarray:
        won = win_rate_from_success(self.score(prompts, ours), self.score(prompts, theirs))
        return np.repeat(won, 2, axis=1)


def reward_model(folder: Path, device: str, batch: int = 16) -> ScoringJudge:
    """A sequence classifier with one output that reads prompt and response.

    Raises ConfigurationError where the folder holds none.
    """
    from transformers import AutoModelForSequenceClassification

    from trainers.alignment.models import find_model, load_tokeniser, loaded_weights

    find_model(str(folder))
    tokeniser = load_tokeniser(folder)
    model = loaded_weights(AutoModelForSequenceClassification, folder)
    if model.config.num_labels != 1:
        raise ConfigurationError(
            f"judge {folder} has {model.config.num_labels} outputs; a reward model has one"
        )
    model = model.to(device).eval()

    @torch.inference_mode()
    def score(prompts: Sequence[Prompt], responses: Sequence[str]) -> np.ndarray:
        found = []
        for start in range(0, len(prompts), batch):
            part = slice(start, start + batch)
            texts = [
                _whole(tokeniser, p, r) for p, r in zip(prompts[part], responses[part], strict=True)
            ]
            ids = tokeniser(texts, return_tensors="pt", padding=True, truncation=True).to(device)
            ids.pop("token_type_ids", None)
            found.append(model(**ids).logits[:, 0].double().cpu().numpy())
        return np.concatenate(found) if found else np.zeros(0)

    return ScoringJudge(f"reward model {folder.name}", score, succeeds=False)


def _whole(tokeniser: Any, prompt: Prompt, response: str) -> str:
    if isinstance(prompt, str):
        return prompt + response
    messages = [*prompt, {"role": "assistant", "content": response}]
    return str(tokeniser.apply_chat_template(messages, tokenize=False))


@dataclass(frozen=True)
class CommandJudge:
    """Asks a program which of two responses is better. Every pair is asked in both orders."""

    command: str

    @property
    def name(self) -> str:
        return recorded(f"{COMMAND} {self.command}")

    def wins(
        self, prompts: Sequence[Prompt], ours: Sequence[str], theirs: Sequence[str]
    ) -> np.ndarray:
        asked = [
            {"prompt": p, "first": a, "second": b}
            for first, second in ((ours, theirs), (theirs, ours))
            for p, a, b in zip(prompts, first, second, strict=True)
        ]
        answers = _ask(self.command, asked, "one of first, second, tie")
        return _both_orders(self.name, [answer.lower() for answer in answers])


def _both_orders(name: str, answers: Sequence[str]) -> np.ndarray:
    """Wins [n, 2] from answers [2 n] to pairs, then to the same pairs turned round."""
    wrong = next((a for a in answers if a not in _VALUES), None)
    if wrong is not None:
        raise MachineError(
            f"the judge `{name}` answered {wrong[:80]!r}; it must answer every line that it reads "
            "with one of first, second, tie"
        )
    value = np.array([_VALUES[a] for a in answers])
    half = len(value) // 2
    return np.stack([value[:half], 1 - value[half:]], axis=1)


_VALUES = {"first": 1.0, "second": 0.0, "tie": 0.5}


def _ask(command: str, questions: Sequence[Mapping[str, Any]], wanted: str) -> list[str]:
    """A line for each question. Raises MachineError where the program gives anything else."""
    done = run_command(command, "".join(json.dumps(question) + "\n" for question in questions))
    answers = [line.strip().strip('"') for line in done.output.splitlines()]
    if done.code == 0 and not done.cut and len(answers) == len(questions):
        return answers
    said = done.errors.strip().splitlines()[-1:] or [""]
    why = f"answered {len(answers)} lines to {len(questions)} questions"
    if done.cut:
        why = f"wrote more than {size(OUTPUT_MOST)} and was ended"
    elif done.code is None:
        why += f", wrote nothing for {SILENT_S / 60:g} minutes and was ended"
    elif done.code:
        why = f"ended with code {done.code}{': ' if said[0] else ''}{said[0][:80]}"
    raise MachineError(
        f"the judge `{recorded(f'{COMMAND} {command}')}` {why}; it must answer every line that it "
        f"reads with {wanted}"
    )


def command_judge(command: str, example: Example) -> Judge:
    """A program as judge, tried once on an example: one that scores single responses where it
    answers them with numbers, else one that compares two.

    Raises MachineError where it does neither.
    """
    prompt, ours, theirs = example

    def score(prompts: Sequence[Prompt], responses: Sequence[str]) -> np.ndarray:
        asked = [{"prompt": p, "response": r} for p, r in zip(prompts, responses, strict=True)]
        return numbers(name, _ask(command, asked, "a number"), len(responses))

    compares = CommandJudge(command)
    name = compares.name
    try:
        answers = _ask(command, [{"prompt": prompt, "response": r} for r in (ours, theirs)], "")
    except MachineError:
        answers = []
    if not any(map(_is_number, answers)):
        compares.wins([prompt], [ours], [theirs])
        return compares
    numbers(name, answers, 2)
    return ScoringJudge(name, score, succeeds=False)


def _is_number(answer: str) -> bool:
    try:
        float(answer)
    except ValueError:
        return False
    return True


def numbers(name: str, values: Sequence[Any], n: int) -> np.ndarray:
    """n finite scores, float64 [n]. Raises MachineError for anything else."""
    try:
        found = np.array([float(value) for value in values], np.float64)
    except (TypeError, ValueError, OverflowError):
        found = np.zeros(0)
    if found.shape != (n,) or not np.isfinite(found).all():
        raise MachineError(
            f"`{name}` must give one finite number a response: it gave {shown(list(values)[:4])} "
            f"for {n} responses"
        )
    return found


@dataclass(frozen=True)
class FunctionJudge:
    """Asks a Python function which of two responses is better, every pair in both orders."""

    function: PythonFunction

    @property
    def name(self) -> str:
        return self.function.name

    def wins(
        self, prompts: Sequence[Prompt], ours: Sequence[str], theirs: Sequence[str]
    ) -> np.ndarray:
        answers = self.function(
            [*prompts, *prompts], [*ours, *theirs], [*theirs, *ours]
        )  # fmt: skip
        if len(answers) != 2 * len(prompts):
            raise MachineError(
                f"the judge `{self.name}` gave {len(answers)} answers to {2 * len(prompts)} "
                "questions; it must give one of first, second, tie for each"
            )
        return _both_orders(self.name, [str(answer).strip().lower() for answer in answers])


def function_judge(name: str, example: Example) -> Judge:
    """A Python function as judge, tried once on an example: of (prompts, responses), which gives
    numbers, or of (prompts, first, second), which gives "first", "second" or "tie" for each.

    Raises ConfigurationError where there is no such function, MachineError where it fails.
    """
    prompt, ours, theirs = example
    function = PythonFunction(name)
    wanted = function.parameters()
    if wanted == 3:
        compares = FunctionJudge(function)
        compares.wins([prompt], [ours], [theirs])
        return compares
    if wanted != 2:
        raise ConfigurationError(
            f"judge {name} takes {wanted} arguments; a judge takes (prompts, responses) and gives "
            "numbers, or (prompts, first, second) and gives first, second or tie for each"
        )

    def score(prompts: Sequence[Prompt], responses: Sequence[str]) -> np.ndarray:
        return numbers(name, function(prompts, responses), len(responses))

    score([prompt, prompt], [ours, theirs])
    return ScoringJudge(name, score, succeeds=False)


def named_judge(judge: str, device: str, example: Example) -> Judge | None:
    """The judge a user names, tried once on an example; None where that is execution or nobody.

    Raises ConfigurationError or MachineError where there is no such judge, or it does not work.
    """
    if judge in ("", "execution"):
        return None
    if judge.startswith(COMMAND):
        return command_judge(judge.removeprefix(COMMAND).strip(), example)
    if Path(judge).is_dir():
        model = reward_model(Path(judge), device)
        prompt, ours, theirs = example
        numbers(model.name, model.score([prompt, prompt], [ours, theirs]).tolist(), 2)
        return model
    if is_function(judge):
        return function_judge(judge, example)
    raise ConfigurationError(
        f"judge {judge[:80]!r} is neither execution, a reward model's folder, "
        '"command: ..." nor a Python function, MODULE:FUNCTION'
    )

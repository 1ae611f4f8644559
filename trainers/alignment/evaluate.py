"""One run's answers against another's: win rates, preference accuracy, `alpaca_eval`'s format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rayforge.errors import ConfigurationError, RunError
from rayforge.evaluation.intervals import bootstrap_interval
from rayforge.evaluation.win_rate import (
    alpaca_annotations,
    alpaca_outputs,
    length_controlled,
    over_orders,
    win_rate,
)
from rayforge.files import write_json
from rayforge.reports.alignment import write_alignment_report
from trainers.alignment.config import AlignConfig
from trainers.alignment.generation import Sampling, answering, generate
from trainers.alignment.judging import Judge, ScoringJudge
from trainers.alignment.models import Checkpoint, find_model, fingerprint, load_tokeniser
from trainers.alignment.named_code import confirmed, without_commands
from trainers.alignment.review import SAMPLED, as_text, texts_of
from trainers.alignment.run import (
    check_identity,
    make_pool,
    prepare_run,
    read_figures,
    start_ray,
)
from trainers.alignment.task import Prompts
from trainers.cluster import own_ray
from trainers.configuration import read_configuration
from trainers.runs.folder import hardware
from trainers.runs.pool import Pool

KINDS = {"greedy": 0.0, "sampled": SAMPLED}


def last_model(folder: Path) -> Path:
    """The model of a run's last finished round, or the folder itself where it is a model's.

    Raises ConfigurationError where it is neither.
    """
    if not (folder / "rounds").is_dir():
        if not folder.is_dir():
            raise RunError(f"{folder} is neither a run's folder nor a model's")
        return find_model(str(folder))
    rounds = [f for f in folder.glob("rounds/[0-9]*") if (f / "model" / "config.json").is_file()]
    if not rounds:
        raise RunError(
            f"{folder} has not finished a round: go on with rayforge align train --resume {folder}"
        )
    return max(rounds, key=lambda path: int(path.name)) / "model"


def evaluate_against(run: Path, against: Path, judge: str, command: str) -> dict[str, Any]:
    """`_evaluate`, on a Ray of its own where it needs one."""
    with own_ray():
        return _evaluate(run, against, judge, command)


def _evaluate(run: Path, against: Path, judge: str, command: str) -> dict[str, Any]:
    """Both models answer the run's evaluation prompts; the judge compares them prompt by prompt.

    Writes `evaluation_<other>.json`, the answers as `alpaca_*.json` and the report anew; prints a
    table. Raises ConfigurationError where there is no judge or a folder is not what it should be.
    """
    if not (run / "config.yaml").is_file():
        raise RunError(f"{run} is not a run folder: it has no config.yaml")
    config = read_configuration(AlignConfig, run / "config.yaml")
    config = replace(config, judge=confirmed(config.judge, judge, str(run / "config.yaml")))
    config = replace(config, method="dpo", score="implicit")  # nothing is reviewed here
    models = {"ours": last_model(run), "theirs": last_model(against)}
    prepared = prepare_run(config)
    identity = {"model": prepared.initial.hash, "task": prepared.task.fingerprint}
    check_identity(run, identity)
    task = prepared.task
    if task.judge is None:
        raise ConfigurationError(
            f"{run} has no judge: name one, --judge FOLDER of a reward model or "
            '--judge "command: ..."'
        )
    if not len(task.evaluation):
        raise ConfigurationError(f"{run} has no evaluation prompts: evaluation_prompts is 0")
    start_ray(config)
    pool = make_pool(config)
    names = (run.resolve().name, against.resolve().name)
    document: dict[str, Any] = {
        "held_out_accuracy": held_out_accuracy(models["ours"]),
        "command": without_commands(command, config.judge), "hardware": hardware(),
        "data": config.data, "seed": config.seed,
        "judge": task.judge.name, "ours": names[0], "theirs": names[1],
        "prompts": len(task.evaluation), "answers": {},
    }  # fmt: skip
    try:
        for kind, temperature in KINDS.items():
            texts, sizes = {}, {}
            for side, folder in models.items():
                texts[side], sizes[side] = _answers(
                    config, run, fingerprint(folder), task.evaluation, kind, temperature, pool
                )
            figures = _compare(task.judge, task.evaluation, texts, sizes)
            won = figures.pop("wins_by_prompt")
            document["answers"][kind] = figures
            if kind == "greedy":
                _export(run, names, config, task.judge, task.evaluation, texts, won)
    finally:
        pool.release()
    write_json(run / f"evaluation_{names[1]}.json", document)
    print(_table(document))
    print(f"report: {write_alignment_report(run)}", flush=True)
    return document


def _answers(
    config: AlignConfig, run: Path, model: Checkpoint, prompts: Prompts, kind: str,
    temperature: float, pool: Pool,
) -> tuple[list[str], np.ndarray]:  # fmt: skip
    """(texts, tokens float64 [n]) of a model's answers, kept by model and never sampled twice."""
    folder = run / "answers" / model.hash
    folder.mkdir(parents=True, exist_ok=True)
    how = Sampling(1, temperature, 1.0, config.max_new_tokens)
    job = answering(config, model, how)
    found = generate(
        job, prompts.ids, folder / f"{kind}.parquet", config.generation_batch, config.seed, pool
    )
    sizes = np.array([len(c.response) for c in found.completions], np.float64)
    return texts_of(load_tokeniser(model.folder), found), sizes


def _compare(
    judge: Judge, prompts: Prompts, texts: dict[str, list[str]], sizes: dict[str, np.ndarray]
) -> dict[str, Any]:
    table = judge.wins(prompts.asked, texts["ours"], texts["theirs"])
    won = over_orders(table)
    found = win_rate(table)
    controlled = length_controlled(won, sizes["ours"], sizes["theirs"])
    figures: dict[str, Any] = {
        "win_rate": found.rate.as_dict(),
        "length_controlled": controlled.as_dict(),
        "wins": found.wins, "losses": found.losses, "ties": found.ties, "swayed": found.swayed,
        "tokens": {side: float(size.mean()) for side, size in sizes.items()},
        "wins_by_prompt": won,
    }  # fmt: skip
    if isinstance(judge, ScoringJudge):
        for side in ("ours", "theirs"):
            score = judge.score(prompts.asked, texts[side])
            figures[f"score_{side}"] = bootstrap_interval(score).as_dict()
    return figures


def _export(
    run: Path, names: tuple[str, str], config: AlignConfig, judge: Judge, prompts: Prompts,
    texts: dict[str, list[str]], won: np.ndarray,
) -> None:  # fmt: skip
    asked = [as_text(prompt) for prompt in prompts.asked]
    for name, side in zip(names, ("ours", "theirs"), strict=True):
        outputs = alpaca_outputs(asked, texts[side], name, config.data)
        write_json(run / f"alpaca_outputs_{name}.json", outputs)
    annotations = alpaca_annotations(
        asked, texts["ours"], texts["theirs"], won, names, judge.name, config.data
    )
    write_json(run / f"alpaca_annotations_{names[1]}.json", annotations)


def _table(document: dict[str, Any]) -> str:
    def shown(figure: dict[str, float]) -> str:
        return f"{figure['mean']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"

    lines = [
        f"{document['ours']} against {document['theirs']}, {document['prompts']} prompts, judge "
        f"{document['judge']}",
        "| answers | win rate | length-controlled | wins | losses | ties | score | other's score |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind, figures in document["answers"].items():
        scores = [
            shown(figures[key]) if key in figures else "" for key in ("score_ours", "score_theirs")
        ]
        lines.append(
            f"| {kind} | {shown(figures['win_rate'])} | {shown(figures['length_controlled'])} | "
            f"{figures['wins']} | {figures['losses']} | {figures['ties']} | {scores[0]} | "
            f"{scores[1]} |"
        )
    return "\n".join(lines)


def held_out_accuracy(model: Path) -> float:
    """Share of held-out pairs that a round's model orders as labelled, by its implicit reward."""
    return float(read_figures(model.parent)["review/accuracy"])

"""The alignment benchmark's plan and table, from run folders as training leaves them."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.alignment import CELLS, FIRST, METHODS, Run, configuration, plan, rows, summary


def write_run(folder: Path, start: int, good: int) -> None:
    for number, count in ((0, start), (2, good)):
        at = folder / "rounds" / str(number)
        at.mkdir(parents=True)
        score = [1.0] * count + [0.0] * (10 - count)
        answers = {
            "greedy_score": score, "sampled_score": score[::-1], "greedy_tokens": [20.0] * 10,
        }  # fmt: skip
        pq.write_table(pa.table(answers), at / "answers.parquet")
    figures = {
        "select/flip_auc": 0.75, "select/kept_flipped": 0.1, "select/kept_longer_chosen": 0.8,
    }  # fmt: skip
    (folder / "rounds/2/selection.json").write_text(json.dumps({"figures": figures}))
    (folder / "rounds/2/review.json").write_text(json.dumps({"review/accuracy": 0.625}))


def test_table(tmp_path: Path) -> None:
    runs = [Run(name, 0.8, 0.2, seed) for name in ("dpo", "sera") for seed in (0, 1)]
    for run, good in zip(runs, (6, 8, 9, 9), strict=True):
        write_run(tmp_path / run.folder, 4, good)
    found = rows(tmp_path, runs).splitlines()
    assert found[4] == (
        "| sera | 0.8 | 0.2 | 0 | 0.400 | 0.900 | 0.900 | 0.650 | 0.650 | 0.625 | 20.0 | 0.75 | "
        "0.10 | 0.80 | - |"
    )
    dpo, sera = summary(tmp_path, runs).splitlines()[-2:]
    assert dpo.startswith("| dpo | 0.8 | 0.2 | 2 | 0.700 [") and dpo.endswith("|  |  |")
    assert sera.startswith("| sera | 0.8 | 0.2 | 2 | 0.900 [") and "| +0.200 [" in sera
    assert "| sera | 0.8 | 0.2 | 1 | 0.900 [" in summary(tmp_path, [runs[0], runs[2]])


def test_all_take_the_same_steps_from_the_same_start() -> None:
    groups = list(plan((0, 1)))
    every = [run for group in groups for run in group]
    assert len(set(every)) == len(every) == sum(2 * len(names) for names in CELLS.values())
    assert {run.name for group in groups for run in group} == METHODS.keys() - {FIRST}
    configs = [configuration(run, Path("start")) for group in groups for run in group]
    assert {c.round_count * c.round_steps for c in configs} == {96}
    assert {c.model for c in configs} == {"start"}

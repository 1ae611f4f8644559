"""The alignment benchmark's plan and table, from run folders as training leaves them."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.alignment import (
    BEST,
    CELLS,
    FIRST,
    METHODS,
    Benchmark,
    Cell,
    Run,
    configuration,
    read,
    rows,
    summary,
)


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
    cell = Cell(256, 0.8, 0.2)
    runs = [Run(name, cell, seed) for name in ("dpo", "sera") for seed in (0, 1)]
    for run, good in zip(runs, (6, 8, 9, 9), strict=True):
        write_run(tmp_path / run.folder, 4, good)
    found = rows(tmp_path, runs).splitlines()
    assert found[4] == (
        "| sera | 256 | 0.8 | 0.2 | 0 | 0.400 | 0.900 | 0.900 | 0.650 | 0.650 | 0.625 | 20.0 | "
        "0.75 | 0.10 | 0.80 | - | - |"
    )
    dpo, sera = summary(tmp_path, runs).splitlines()[-2:]
    assert dpo.startswith("| dpo | 256 | 0.8 | 0.2 | 2 | 0.700 [") and dpo.endswith(" | 1.00 |")
    assert sera.startswith("| sera | 256 | 0.8 | 0.2 | 2 | 0.900 [") and "| +0.200 [" in sera
    assert "+0.300, +0.100" in sera and sera.endswith("| 1.29 |")
    one = summary(tmp_path, [runs[0], runs[2]])
    assert "| sera | 256 | 0.8 | 0.2 | 1 | 0.900 [" in one


def test_dpo_is_stopped_where_held_out_pairs_say(tmp_path: Path) -> None:
    run = Run("rounds alone", Cell(256, 0.5, 0.2), 0)
    write_run(tmp_path / run.folder, 4, 6)
    write_run(tmp_path / "other", 4, 9)
    first = tmp_path / run.folder / "rounds" / "1"
    (tmp_path / "other" / "rounds" / "2").rename(first)
    (first / "review.json").write_text(json.dumps({"review/accuracy": 0.7}))
    assert read(tmp_path / run.folder).score["greedy"].mean() == 0.6
    assert read(tmp_path / run.folder, best=True).score["greedy"].mean() == 0.9
    write_run(tmp_path / run._replace(name="dpo").folder, 4, 6)
    assert BEST in summary(tmp_path, [run])


def test_all_take_the_same_steps_from_the_same_start() -> None:
    every = [
        run for group in Benchmark(seeds=(0, 1), pairs=(256, 512, 1536))._plan() for run in group
    ]
    assert len(set(every)) == len(every) == sum(2 * len(names) for names in CELLS.values())
    asked = {run.name for run in every} | {"acting, labels turned", "acting, labels dropped"}
    assert asked == METHODS.keys() - {FIRST, "oracle and judge"}
    configs = [configuration(run, Path("start"), Path("out")) for run in every]
    assert {c.round_count * c.round_steps for c in configs} == {96}
    assert {c.model for c in configs} == {"start"}
    assert {c.score for c in configs if c.method == "acting"} <= {
        "judge", "implicit", *(f"follower:out/follower-{w}" for w in ("planner", "walks", "weak"))
    }  # fmt: skip

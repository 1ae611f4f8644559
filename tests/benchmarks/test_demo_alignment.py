"""The table of the alignment demo, from run folders as training leaves them."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.demo_alignment import configurations, table


def write_round(run: Path, number: int, good: int, figures: dict[str, float]) -> None:
    folder = run / "rounds" / str(number)
    folder.mkdir(parents=True)
    score = [1.0] * good + [0.0] * (10 - good)
    answers = {"greedy_score": score, "sampled_score": score[::-1]}
    pq.write_table(pa.table(answers), folder / "answers.parquet")
    (folder / "selection.json").write_text(json.dumps({"figures": figures}))


def test_table(tmp_path: Path) -> None:
    dpo, acting = tmp_path / "dpo", tmp_path / "acting"
    write_round(dpo, 0, 4, {})
    write_round(dpo, 1, 6, {})
    for number, good, figures in (
        (1, 5, {}),
        (2, 10, {"select/flip_auc": 0.75, "generate/accuracy": 0.625}),
        (10, 10, {"select/flip_auc": 0.5}),
    ):
        write_round(acting, number, good, figures)
    lines = table(dpo, acting).splitlines()
    assert "10 test routes" in lines[0]
    assert lines[3].startswith("| SFT | 0.400 [") and lines[3].endswith("|  |  |")
    assert lines[4].startswith("| DPO | 0.600 [") and " | 0.600 [" in lines[4][20:]
    assert lines[5] == (
        "| review by acting | 1.000 [1.000, 1.000] | 1.000 [1.000, 1.000] | 0.800 [0.650, 0.950] | "
        "0.800 [0.650, 0.950] |"
    )
    assert lines[6].startswith("| acting minus DPO, paired | +0.400 [+0.100, ")
    assert lines[7:] == [
        "",
        "| review by acting | AUC for flipped labels | accuracy on its own pairs |",
        "|---|---|---|",
        "| round 2 | 0.750 | 0.625 |",
        "| round 10 | 0.500 | nan |",
    ]


def test_both_take_the_same_steps() -> None:
    runs = configurations(Path("agent"), Path("start"), 3)
    assert {c.round_count * c.round_steps for c in runs.values()} == {96}
    assert len({c.routes for c in runs.values()} | {runs["dpo"].routes}) == 1
    assert runs["dpo"].loss == runs["acting"].loss and runs["dpo"].anchor == runs["acting"].anchor

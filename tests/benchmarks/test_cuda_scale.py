"""The command for a GPU, on a processor with models of a few layers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.cuda_scale import TINY, CudaScale, line, make_model, measure, peak_tflops, phases


def test_every_phase_is_measured_on_a_processor(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    make_model(TINY[0], folder, "cpu")
    for phase in phases():
        if phase == "vllm":
            continue
        found = measure(phase, TINY[0], folder, "cpu")
        assert found.tokens_a_second > 0 and found.memory > 0 and found.planned > 0


def test_the_command_says_what_came_to_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    CudaScale(tmp_path, "cpu", minutes=0.0)()
    said = capsys.readouterr().out
    assert said.count("no time left") == 2 * len(phases())
    document = json.loads((tmp_path / "cuda_scale.json").read_text())
    assert document["agent_updates_a_second"] is None and document["peak_tflops"] > 0


def test_shares_of_a_known_cards_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, tflops in (("NVIDIA H100 80GB HBM3", 989), ("NVIDIA A100-SXM4-40GB", 312),
                         ("NVIDIA L40S", 362), ("Other", 7.0)):  # fmt: skip
        monkeypatch.setattr("torch.cuda.get_device_name", lambda name=name: name)
        assert peak_tflops("cuda", 7.0) == tflops
    row = {"operations": 6.0, "parameters": 10**9, "tokens_a_second": 1e4, "planned": 2e9,
           "memory": 1e9}  # fmt: skip
    assert line(row, 120.0).split()[:3] == ["10,000", "60", "0.500"]
    assert line(row, 120.0).split()[-1] == "2.00"
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="no CUDA device here"):
        CudaScale(Path("nowhere"))()

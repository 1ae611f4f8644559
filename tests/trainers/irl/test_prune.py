"""A pruned run is a run: it acts, it is smaller, and what was cut off changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rayforge.circuits.config import CircuitConfig
from rayforge.circuits.pruning import importance, pruned
from rayforge.errors import ConfigurationError, RunError
from rayforge.files import write_json, write_text
from rayforge.irl.agent import Agent
from rayforge.irl.config import NetworkConfig
from rayforge.language.vocabulary import Vocabulary
from rayforge.reports.wiring import wiring
from trainers.configuration import to_dict, to_yaml
from trainers.irl.config import IRLConfig
from trainers.irl.loading import agent_sizes, load_agent
from trainers.irl.prune import prune
from trainers.irl.run_folder import load_run
from trainers.irl.wiring import write_wiring
from trainers.runs.checkpoint import save_checkpoint

DIMENSION = 3
CONFIG = IRLConfig(
    data="nowhere", augment=False, relabel=False,
    network=NetworkConfig(
        trunk="circuit", word=8, hidden=32,
        circuit=CircuitConfig(modules=8, layers=1, code=4, signature=4),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    folder.mkdir()
    vocabulary = Vocabulary.from_texts(["go to the red door", "go to the red door"], 1)
    torch.manual_seed(0)
    agent = Agent(**agent_sizes(CONFIG, len(vocabulary), DIMENSION))
    for trunk in (agent.policy.trunk, agent.reward.trunk):
        signature = trunk.generator.signature
        signature.data = signature.abs()
        signature.data[2:5] *= -1  # these three are far from all others
    write_text(folder / "config.yaml", to_yaml(CONFIG))
    write_text(folder / "vocabulary.json", vocabulary.to_json())
    write_json(folder / "objects.json", [])
    weights = {k: v.detach().numpy() for k, v in agent.state_dict().items()}
    state = {"counts": {}, "config": to_dict(CONFIG), "data": "x"}
    save_checkpoint(folder / "checkpoints", 7, weights, {}, {"a": np.zeros(1)}, state)
    return folder


def test_without_the_modules_that_say_nothing_it_acts_the_same(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "pruned"
    prune(run, 5 / 8, False, out, "rayforge irl prune")
    assert load_run(out)[0].network.circuit.modules == 5
    before, after = (load_agent(folder).agent.policy for folder in (run, out))
    state = torch.randn(2, 3, 4 * DIMENSION)
    seen = SimpleNamespace(state=state, arrival=torch.randn(2, 3, 6))
    instructions = before.instruction_encoder(torch.tensor([[4, 5, 6, 3], [5, 4, 3, 0]]))
    codes = [p.trunk(seen, instructions, torch.tensor([3, 3])) for p in (before, after)]
    torch.testing.assert_close(codes[0], codes[1])
    assert sum(p.numel() for p in after.parameters()) < sum(p.numel() for p in before.parameters())
    with pytest.raises(RunError, match="holds a run already"):
        prune(run, 0.5, False, out, "")


def test_fewer_are_kept_where_asked_and_targets_lose_what_critics_lose(
    run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "small"
    prune(run, 0.25, True, out, "")
    config = load_run(out)[0].network.circuit
    assert config.modules == 2 and config.links == "threshold"
    agent = Agent(**agent_sizes(load_run(out)[0], 9, DIMENSION))
    assert agent.policy.trunk.generator.signature.shape == (4, 4)
    load_agent(out)


def test_the_modules_kept_are_those_that_reach_the_outputs() -> None:
    config = CONFIG.network.circuit
    signature = np.ones((10, 4), np.float32)
    signature[1:4] = -1
    score = importance(signature, config)
    assert (score[1:4] == 0).all() and (score[[0, 4, 5, 6, 7]] > 0).all()
    with pytest.raises(ValueError, match="no circuit"):
        pruned({"policy.trunk.look.weight": signature}, config, 0.5)


@pytest.mark.parametrize("keep", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(run: Path, tmp_path: Path, keep: float) -> None:
    with pytest.raises(ConfigurationError, match="keep must be"):
        prune(run, keep, False, tmp_path / "x", "")


def test_a_run_without_a_circuit_is_refused(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "lstm"
    other.mkdir()
    network = replace(CONFIG.network, trunk="lstm")
    write_text(other / "config.yaml", to_yaml(replace(CONFIG, network=network)))
    for name in ("vocabulary.json", "objects.json"):
        write_text(other / name, (run / name).read_text())
    with pytest.raises(ConfigurationError, match="no circuit to prune"):
        prune(other, 0.5, False, tmp_path / "y", "")


@pytest.mark.parametrize("trunk", ["circuit", "circuit-conditioned"])
def test_the_page_shows_the_wiring(tmp_path: Path, trunk: str) -> None:
    network = replace(CONFIG.network, trunk=trunk)  # type: ignore[arg-type]
    config = replace(CONFIG, network=network)
    words = ["go to the <b>red</b> door"] * 2
    vocabulary = Vocabulary.from_texts(words, 1)
    tokens = vocabulary.encode(words, 8)[0]
    split = SimpleNamespace(paths=SimpleNamespace(tokens=tokens), __len__=None)

    class Split:
        paths = split.paths

        def __len__(self) -> int:
            return len(tokens)

    agent = Agent(**agent_sizes(config, len(vocabulary), DIMENSION))
    write_wiring(tmp_path, agent, SimpleNamespace(splits={"seen": Split()}, vocabulary=vocabulary))  # type: ignore[arg-type]
    (section,) = wiring(tmp_path)
    pictures = section.parts[1].pictures  # type: ignore[union-attr]
    assert len(pictures) == (3 if trunk == "circuit-conditioned" else 2)
    assert str(pictures[0].drawing).count("<circle") == 8
    assert str(pictures[0].drawing).count("<rect") == 2
    (tmp_path / "wiring.json").write_text('{"modules": 3}')
    assert "cannot be read" in str(wiring(tmp_path))
    assert wiring(tmp_path / "nowhere") == []

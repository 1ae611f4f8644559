"""A smaller run of a run whose trunk is a circuit: modules that say little are taken out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rayforge.circuits.pruning import pruned
from rayforge.errors import ConfigurationError, RunError
from rayforge.files import write_json, write_text
from trainers.configuration import from_dict, to_dict, to_yaml
from trainers.irl.config import IRLConfig
from trainers.irl.run_folder import load_run
from trainers.irl.wiring import is_circuit
from trainers.runs.checkpoint import latest, load_checkpoint, save_checkpoint
from trainers.runs.folder import hardware, prepare
from trainers.runs.identity import check_settings


def prune(run: Path, keep: float, threshold: bool, out: Path, command: str) -> None:
    """Write the run `out`: that of `run` with a share `keep` of the processing modules of every
    circuit, and with the links of the kept ones thresholded where asked.

    Modules without a way to an output go first. The optimisers begin anew where the pruned run
    goes on (`--resume`). What `rayforge irl plan` taught is not taken over.

    Raises:
        ConfigurationError: the run has no circuit, or `keep` is no share.
        RunError: it has no checkpoint yet, or `out` holds a run.
    """
    if not 0 < keep <= 1:
        raise ConfigurationError(f"keep must be above 0 and at most 1, got {keep}")
    config, vocabulary, objects = load_run(run)
    if not is_circuit(config):
        raise ConfigurationError(
            f"{run} has no circuit to prune: its network.trunk is {config.network.trunk!r}; train "
            "one with --network.trunk circuit"
        )
    newest = latest(run / "checkpoints")
    if newest is None:
        raise RunError(f"{run} has no checkpoint yet; train it first")
    saved = load_checkpoint(newest)
    check_settings(from_dict(IRLConfig, saved.state["config"]), config, f"checkpoint {newest}")
    circuit = config.network.circuit
    if threshold:
        circuit = replace(circuit, links="threshold")
    cut = pruned(saved.module, circuit, keep)
    circuit = replace(circuit, modules=cut.modules, inner=cut.inner)
    smaller = replace(config, network=replace(config.network, circuit=circuit))
    prepare(out)
    write_text(out / "config.yaml", to_yaml(smaller))
    write_text(out / "vocabulary.json", vocabulary.to_json())
    write_json(out / "objects.json", objects)
    about = {"command": command, "hardware": hardware(), "data": config.data, "pruned": str(run)}
    write_json(out / "run.json", about)
    state = {k: v for k, v in saved.state.items() if k not in ("optimizers", "files", "sum")}
    state["config"] = to_dict(smaller)
    number = int(newest.name)
    save_checkpoint(out / "checkpoints", number, cut.weights, {}, saved.replay, state)
    before, after = (sum(v.size for v in part.values()) for part in (saved.module, cut.weights))
    print(f"{out}: {cut.modules} of {config.network.circuit.modules} modules, {after:,} of "
          f"{before:,} numbers")  # fmt: skip
    for prefix, lost in cut.without_way.items():
        if lost:
            print(f"  {prefix.removesuffix('.')}: {lost} modules had no way to an output")

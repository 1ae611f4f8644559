"""What a run's folder holds: settings, vocabulary, checkpoints; and whether they fit together."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal

from envs.episodes.r2r_ce import splits_in
from envs.episodes.split_files import splits_of
from envs.houses.dataset import generator_version, write_houses
from rayforge.cache import make_cache_folder
from rayforge.errors import DataError, RunError
from rayforge.language.vocabulary import Vocabulary
from rayforge.readers.content import read_text
from rayforge.readers.json_text import read_json
from trainers.configuration import from_dict, read_configuration
from trainers.irl.config import IRLConfig
from trainers.irl.preflight import check_data
from trainers.runs.checkpoint import Checkpoint, latest, load_checkpoint
from trainers.runs.identity import check_settings

CLONED = "cloned.safetensors"
"""In a run's folder: the policy as it was when cloning ended and another method went on."""
BEST = "best"
"""In a run's folder: the weights that validated best, as checkpoints that only act."""
Which = Literal["last", "best"]
"""The weights at the end of training, or those that validated best."""


def load_run(run: Path) -> tuple[IRLConfig, Vocabulary, tuple[str, ...]]:
    """Configuration, vocabulary and object names of a run folder."""
    config = read_configuration(IRLConfig, run / "config.yaml")
    try:
        vocabulary = Vocabulary.from_json(read_text(run / "vocabulary.json", kind=RunError))
        objects = read_json(run / "objects.json", RunError)
    except (ValueError, RunError) as error:
        raise RunError(f"{run} is not a whole run folder: {error}") from error
    if not isinstance(objects, list) or not all(isinstance(name, str) for name in objects):
        raise RunError(f"{run} is not a whole run folder: objects.json must be a list of names")
    return config, vocabulary, tuple(objects)


def read_saved(run: Path, config: IRLConfig) -> Checkpoint | None:
    """The newest checkpoint of a run, to go on from under `config`; None where the run was ended
    before its first one.

    Raises RunError where the folder holds no run, ConfigurationError where it was started or its
    checkpoint made with other settings, and CheckpointError where that is not whole.
    """
    if not (run / "config.yaml").is_file():
        raise RunError(f"{run} holds no run to go on with: it has no config.yaml")
    path = latest(run / "checkpoints")
    if path is None:
        check_settings(read_configuration(IRLConfig, run / "config.yaml"), config, str(run))
        return None
    saved = load_checkpoint(path)
    check_settings(from_dict(IRLConfig, saved.state["config"]), config, f"checkpoint {path}")
    return saved


def data_folder(config: IRLConfig) -> Path:
    """The folder to read; generated houses are made once and kept under the user's cache."""
    if config.data != "houses":
        folder = Path(config.data)
        check_data(folder)
        return folder
    sizes = asdict(config.houses)
    folder = make_cache_folder() / "-".join(
        ["houses", *map(str, sizes.values()), generator_version()]
    )
    if not (folder / "houses.json").is_file():
        print(f"generating houses into {folder}", flush=True)
        write_houses(folder, **sizes)
    return folder


def resolve_split(name: str, folder: Path, config: IRLConfig) -> str:
    """ "unseen" is `held_out` where buildings are held out, else `val_unseen`.

    Raises DataError where the data folder `folder` has neither.
    """
    if name != "unseen" or config.held_out:
        return "held_out" if name == "unseen" else name
    known = (splits_in if config.env == "continuous" else splits_of)(folder)
    if known and "val_unseen" not in known:
        raise DataError(
            f"{folder} has no split val_unseen (it has {', '.join(known)}), and no building is "
            "held out: name splits with --evaluate, or take buildings out with --held-out"
        )
    return "val_unseen"

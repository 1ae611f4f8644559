"""The readers that are fuzzed: a few valid files each, and how they are read."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from envs.episodes.continuous_episode import ContinuousEpisode
from envs.episodes.r2r import read_r2r
from envs.episodes.r2r_ce import read_ground_truth, read_r2r_ce
from envs.episodes.r2r_ce_writer import write_r2r_ce
from envs.graph.boxes import read_boxes, read_room_labels
from envs.graph.image_features import HDF5Store, TSVStore
from envs.graph.navigation_data import read_navigation_data
from envs.graph.navigation_graph import read_connectivity
from envs.houses.dataset import read_houses
from rayforge.alignment.preferences import read_preferences
from rayforge.errors import RunError
from rayforge.feedback.formats import read_engine, read_massive, read_rewrites, read_utterances
from rayforge.feedback.rewriter_files import load_rewriter
from rayforge.language.vocabulary import Vocabulary
from rayforge.readers.arrays import map_npy, read_npz, read_tensors
from rayforge.readers.content import read_text
from rayforge.readers.parquet import read_table
from rayforge.reports.run_folder import read_run
from tests.conftest import write_tiny_folder
from tests.envs.episodes.ground_truth import write_ground_truth
from tests.fuzz.fuzz import Reader

SCANS = ("alpha", "beta", "gamma")
RXR = {
    "split": "train", "instruction_id": 26, "annotator_id": 19, "language": "hi-IN",
    "path_id": 11, "scan": "alpha", "path": ["alpha00", "alpha01"], "heading": 3.1,
    "instruction": "दरवाज़े से अंदर जाओ।", "timed_instruction": [], "edit_distance": 0.1,
}  # fmt: skip
FOLLOWED = {
    "demonstration_id": 5, "instruction_id": 26, "annotator_id": 43,
    "path": ["alpha00", "alpha01"], "metrics": {"ne": 0},
}  # fmt: skip
CQR = {"dialogue": [
    {"turn": "driver", "data": {"utterance": "There, please."}},
    {"turn": "assistant", "data": {"utterance": "Going."}, "reformulation": {
        "reformulated_utt": "To the café.", "gold_slots": ["café"],
        "mturk_reformulations": ["Go to the café"]}},
]}  # fmt: skip
QRECC = {"Context": ["Who was Ann?"], "Question": "When was she born?",
         "Rewrite": "When was Ann born?", "Conversation_no": 1}  # fmt: skip
MASSIVE = {"partition": "train", "intent": "alarm", "annot_utt": "wake me at [time : five]"}
SNIPS = {"Go": [{"data": [{"text": "go to "}, {"text": "bed", "entity": "place"}]}] * 2}
FIGURE = {"70": [0.5, 1.0]}
ENGINE = {"intents": {"Go": {"precision": FIGURE, "recall": FIGURE, "slots": {
    "place": {"precision": FIGURE, "recall": FIGURE, "rate": 3}}}}}  # fmt: skip
PAIR = {"prompt": "How far?", "chosen": "Two metres.", "rejected": "No idea.", "flipped": False}


def _rewriter(folder: Path) -> None:
    from rayforge.feedback.encoder import RequestEncoder
    from rayforge.feedback.entries import Entry
    from rayforge.feedback.ranking import FEATURES, train_ranker
    from rayforge.feedback.rewriter_files import save_rewriter
    from rayforge.feedback.rewriting import Rewriter
    from rayforge.feedback.rewriting_config import EncoderConfig, RankerConfig, RewritingConfig

    features = np.eye(4, len(FEATURES), dtype=np.float32)
    ranker = train_ranker(RankerConfig(hidden=2, epochs=1), features, features[:, 0] > 0)
    encoder = RequestEncoder(EncoderConfig(width=8)).eval()
    entries = [Entry("go up", None, 3), Entry("my corner", "ann", 2)]
    table = {"go op": ("go up", 0.9)}
    save_rewriter(Rewriter(RewritingConfig(), encoder, ranker, entries, table), folder / "rewriter")


@cache
def _tiny() -> Path:
    return write_tiny_folder(Path(mkdtemp(prefix="rayforge-fuzz-")) / "tiny")


def _from_tiny(*names: str) -> Callable[[Path], None]:
    """Copies of files of the made-up data folder."""

    def make(folder: Path) -> None:
        for name in names:
            source = _tiny() / name
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, folder / name)
            else:
                shutil.copy(source, folder / name)

    return make


def _lines(*records: Any) -> bytes:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records).encode()


def _write(**files: bytes) -> Callable[[Path], None]:
    """Files by their names, "__" for "."."""

    def make(folder: Path) -> None:
        for name, data in files.items():
            (folder / name.replace("__", ".")).write_bytes(data)

    return make


def _guides(folder: Path) -> None:
    lines = _lines(RXR, RXR | {"instruction_id": 27, "language": "en-US"})
    (folder / "rxr_train_guide.jsonl.gz").write_bytes(gzip.compress(lines))
    (folder / "rxr_train_follower.jsonl.gz").write_bytes(gzip.compress(_lines(FOLLOWED)))


def _reverie(folder: Path) -> None:
    records = json.loads((_tiny() / "R2R_val_seen.json").read_text())
    records = [r | {"objId": 9, "id": f"{r['path_id']}_9"} for r in records]
    (folder / "REVERIE_train.json").write_text(json.dumps(records))


def _boxes_tar(folder: Path) -> None:
    with tarfile.open(folder / "BBox.tar.gz", "w:gz") as archive:
        for file in sorted((_tiny() / "BBox").glob("alpha_alpha0[0-3].json")):
            archive.add(file, f"BBox/{file.name}")


def _walks(folder: Path) -> None:
    episode = ContinuousEpisode(
        "7", 4, "mp3d/a/a.glb", (0.0, 0.0, 0.0), 0.5, (1.0, 0.0, 2.0), 3.0, "Go on.",
        ((0.0, 0.0, 0.0), (1.0, 0.0, 2.0)), 2.2, (1, 2, 0), ((0.0, 0.0, 0.0),) * 3,
    )  # fmt: skip
    write_r2r_ce(folder / "train.json.gz", [episode])
    write_ground_truth(folder / "train_gt.json.gz", [episode])


def _tsv(ending: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        lines = b""
        for k in range(3):
            views = np.full((36, 4), k, "<f4").tobytes()
            lines += f"alpha\talpha0{k}\t640\t480\t60\t".encode() + base64.b64encode(views) + b"\n"
        data = gzip.compress(lines) if ending == "tsv.gz" else lines
        (folder / f"f.{ending}").write_bytes(data)

    return make


def _hdf5(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "f.h5", "w") as file:
        for k in range(3):
            views = np.full((36, 4), k, np.float32)
            packed = {"compression": "gzip", "chunks": (36, 4)} if k == 1 else {}
            file.create_dataset(f"alpha_alpha0{k}", data=views, **packed)


def _read_hdf5(folder: Path) -> None:
    store = HDF5Store(folder / "f.h5")
    for k in range(3):
        store.panorama("alpha", f"alpha0{k}")


def _house(folder: Path) -> None:
    from envs.houses.building import build_house
    from envs.houses.dataset import write_houses_file

    write_houses_file(folder, [build_house("house00000", 3)], seed=3, train_houses=1)


def _configuration(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from trainers.alignment.config import AlignConfig
        from trainers.configuration import read_configuration
        from trainers.irl.config import IRLConfig

        kind: type = {"irl": IRLConfig, "align": AlignConfig}[name]
        return read_configuration(kind, folder / "config.yaml")

    return read


def _config(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        from trainers.alignment.config import AlignConfig
        from trainers.configuration import to_yaml
        from trainers.irl.config import IRLConfig

        kind: type = {"irl": IRLConfig, "align": AlignConfig}[name]
        (folder / "config.yaml").write_text(to_yaml(kind()))

    return make


def _search(folder: Path) -> object:
    from trainers.search.config import read_search

    return read_search(folder / "search.yaml")


def _search_file(folder: Path) -> None:
    source = Path(__file__).parents[2] / "tune_configs" / "alignment.yaml"
    shutil.copy(source, folder / "search.yaml")


def _parquet(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [PAIR | {"prompt": f"How far is {k}?"} for k in range(5)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "pairs.parquet")


def _arrays(folder: Path) -> None:
    from safetensors.numpy import save_file

    values = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(["x", "yy"]), "c": np.float32(1)}
    np.savez(folder / "a.npz", allow_pickle=False, **values)
    np.savez_compressed(folder / "b.npz", allow_pickle=False, **values)
    np.save(folder / "c.npy", values["a"])
    save_file({"a": values["a"]}, folder / "d.safetensors")


def _read_arrays(folder: Path) -> None:
    read_npz(folder / "a.npz")
    read_npz(folder / "b.npz")
    map_npy(folder / "c.npy").sum()
    read_tensors(folder / "d.safetensors")


def _run(folder: Path) -> None:
    figure = {"mean": 0.5, "low": 0.4, "high": 0.6, "count": 3}
    agents = {name: {"success": figure, "spl": figure} for name in ("agent", "expert")}
    document = {"split": "val_seen", "data": "x", "method": "GCBC", "seed": 0, "agents": agents}
    (folder / "evaluation_val_seen.json").write_text(json.dumps(document))
    record = {"iteration": 1, "time_s": 1.0, "phase": "clone", "updates": 8, "clone/loss": 1.5}
    (folder / "metrics.jsonl").write_bytes(_lines(record, record | {"iteration": 2}))
    (folder / "run.json").write_text(json.dumps({"command": "c", "hardware": "h", "data": "x"}))
    _config("irl")(folder)


def _report(folder: Path) -> None:
    from rayforge.reports.report import write_report

    read_run(folder)
    write_report(folder)


def _loaded(folder: Path) -> object:
    from trainers.irl.run_folder import load_run

    return load_run(folder)


def _loadable(folder: Path) -> None:
    _config("irl")(folder)
    (folder / "vocabulary.json").write_text(Vocabulary.from_texts(["go on"], 1).to_json())
    (folder / "objects.json").write_text('["lamp", "bed"]')


def _scene(folder: Path) -> None:
    from tests.envs.simulators.made_up import cube, write_semantics

    write_semantics(folder, cube())


def _stage(folder: Path) -> object:
    from envs.simulators.scene import find_scene

    return find_scene(folder / "made.stage_config.json")


def _annotation(folder: Path) -> object:
    from envs.simulators.embedded.semantics import read_annotation

    return read_annotation(folder / "made.semantic.txt")


def _checkpoint(folder: Path) -> None:
    from trainers.runs.checkpoint import save_checkpoint

    module = {"policy.w": np.arange(6, dtype=np.float32).reshape(2, 3)}
    optimizers = {
        "policy": {
            "module_id": "default",
            "state": {"state": {0: {"step": np.float32(3.0)}}, "param_groups": [{"lr": 1e-3}]},
        }
    }
    replay = {"told_length": np.arange(3, dtype=np.int16)}
    save_checkpoint(folder, 8, module, optimizers, replay, {"counts": {"irl": 8}, "config": {}})


def _load_checkpoint(folder: Path) -> object:
    from trainers.runs.checkpoint import load_checkpoint

    return load_checkpoint(folder / "00000008")


def _everything(folder: Path) -> object:
    return read_navigation_data(folder, splits=("train", "val_seen"))


def _mesh(ending: str) -> Callable[[Path], None]:
    """A cube with a texture on one side, as that kind of file."""

    def make(folder: Path) -> None:
        import trimesh
        from PIL import Image

        from tests.envs.simulators.made_up import QUAD, SIDES, cube, painted

        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
        image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
        if ending == "glb":
            parts = [*cube()[:3], painted(SIDES[3], image, corners)]
            (folder / "a.glb").write_bytes(trimesh.Scene(parts).export(file_type="glb"))
        elif ending == "ply":
            worn = trimesh.Trimesh(SIDES[0], QUAD, vertex_colors=[9, 8, 7, 255], process=False)
            (folder / "a.ply").write_bytes(worn.export(file_type="ply"))
            (folder / "b.ply").write_bytes(worn.export(file_type="ply", encoding="ascii"))
        else:
            points = "".join(f"v {x} {y} {z}\n" for x, y, z in SIDES[0])
            uv = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
            faces = "mtllib a.mtl\nusemtl m\nf 1/1 2/2 3/3 4/4\nf -4/-4 -3/-3 -2/-2\n"
            (folder / "a.obj").write_text(points + uv + faces)
            (folder / "a.mtl").write_text("newmtl m\nKd 0.5 0.5 1\nmap_Kd -s 1 1 1 a.png\n")
            image.save(folder / "a.png")

    return make


def _read_meshes(folder: Path) -> None:
    from envs.simulators.embedded.mesh import read_surface

    for file in sorted(folder.iterdir()):
        if file.suffix in (".glb", ".ply", ".obj"):
            read_surface(file, np.eye(3), 1024)


def _navmesh(folder: Path) -> None:
    reference = Path(__file__).parents[2] / "tests/envs/simulators/embedded/room.navmesh"
    shutil.copy(reference, folder / "a.navmesh")


def _read_navmesh(folder: Path) -> object:
    from envs.simulators.embedded.navmesh.habitat_file import read_navmesh

    return read_navmesh(folder / "a.navmesh")


def _search_folder(folder: Path) -> None:
    import yaml

    from trainers.configuration import to_dict
    from trainers.search.config import SearchConfig
    from trainers.search.state import Record, Report, State, Takeover
    from trainers.search.storage import Folder

    record = Record(
        1, {"learning_rate": 0.1}, "stopped", [Report(1, 2.0, {"held_out/success": 0.5})],
        "trial-0001", Takeover("a", {"learning_rate": 0.2}, "trial-0001", 1),
    )  # fmt: skip
    State(trials={1: record}).save(Folder(str(folder), "search"))
    settings = SearchConfig(
        system="irl", space={"seed": {"choice": [1, 2]}}, metrics={"val_seen/success": "max"}
    )
    (folder / "search" / "search.yaml").write_text(yaml.safe_dump(to_dict(settings)))
    (folder / "search" / "trial.json").write_text('{"report": 1, "seconds": 2.0, "start": ""}')


def _read_search_folder(folder: Path) -> None:
    from trainers.search.run import report_search
    from trainers.search.state import read_state
    from trainers.search.storage import Folder
    from trainers.search.trial import read_mark

    read_state(Folder(str(folder), "search"))
    read_mark(folder / "search")
    report_search(folder / "search")


def _run_files(folder: Path) -> None:
    """What a run of alignment, and an adapted one, keep for themselves."""
    (folder / "run.json").write_text('{"command": "c", "model": "m", "task": "t"}')
    record = {"round": 1, "phase": "train", "updates": 2, "time": 3.0, "train/loss": 0.5}
    (folder / "metrics.jsonl").write_bytes(_lines(record, record | {"updates": 3}))
    (folder / "review.json").write_text('{"review/accuracy": 0.5, "review/margin": 1.0}')
    (folder / "adapt.json").write_text('{"run": "r", "scans": ["a"], "settings": {"seed": 0}}')
    (folder / "episodes_a.jsonl").write_bytes(_lines({"episode_id": "1", "success": 1.0}))
    irl = folder / "irl"
    irl.mkdir()
    (irl / "metrics.jsonl").write_bytes(_lines({"iteration": 1}, {"iteration": 2}))
    figures = {"split": "val_seen", "data": "x", "agents": {"agent": {"success": {"mean": 0.5}}}}
    (irl / "evaluation_val_seen.json").write_text(json.dumps(figures))


def _read_run_files(folder: Path) -> None:
    from trainers.alignment.records import MetricsLog
    from trainers.alignment.run import check_identity, read_figures
    from trainers.irl.adapt import _begin, _successes
    from trainers.irl.watch import _evaluated
    from trainers.runs.folder import forget_after
    from trainers.runs.tracking import final_scores

    log = MetricsLog(folder)
    log.replace(1, "select", 3, {"a": 1.0})
    log.forget_after(2)
    log.close()
    check_identity(folder, {"model": "m", "task": "t"})
    read_figures(folder)
    _begin(folder, {"run": "r", "scans": ["a"]})
    _successes(folder / "episodes_a.jsonl")
    _evaluated(folder, "a")
    forget_after(folder / "irl" / "metrics.jsonl", 1)
    final_scores(folder / "irl")


def _furnished(folder: Path) -> None:
    from tests.envs.simulators.test_scene_instance import data_set

    box = {"template_name": "box", "translation": [0, 1, 0], "translation_origin": "COM"}
    chest = {"template_name": "drawers", "initial_joint_pose": {"pull": 0.2}}
    data_set(folder, box, articulated_object_instances=[chest])


def _read_furnished(folder: Path) -> object:
    from envs.simulators.scene import find_scene

    return find_scene(folder / "configs" / "scenes" / "flat_0.scene_instance.json")


READERS = (
    Reader("r2r", _from_tiny("R2R_train.json"), lambda f: read_r2r(f / "R2R_train.json")),
    Reader("reverie", _reverie, lambda f: read_r2r(f / "REVERIE_train.json")),
    Reader("rxr guide", _guides, lambda f: read_r2r(f / "rxr_train_guide.jsonl.gz"), "*guide*"),
    Reader("rxr follower", _guides, lambda f: read_r2r(f / "rxr_train_follower.jsonl.gz")),
    Reader(
        "connectivity",
        _from_tiny("connectivity/alpha_connectivity.json"),
        lambda f: read_connectivity(f / "connectivity" / "alpha_connectivity.json"),
    ),
    Reader("boxes", _from_tiny("BBox"), lambda f: read_boxes(f / "BBox", SCANS)),
    Reader("boxes tar", _boxes_tar, lambda f: read_boxes(f / "BBox.tar.gz", SCANS)),
    Reader(
        "room labels",
        _from_tiny("vp2room_label.json"),
        lambda f: read_room_labels(f / "vp2room_label.json", SCANS),
    ),
    Reader(
        "data folder",
        _from_tiny("R2R_train.json", "R2R_val_seen.json", "connectivity", "BBox",
                   "vp2room_label.json"),
        _everything,
    ),
    Reader("r2r-ce", _walks, lambda f: read_r2r_ce(f / "train.json.gz"), "train.json.gz"),
    Reader("ground truth", _walks, lambda f: read_ground_truth(f / "train_gt.json.gz"), "*_gt*"),
    Reader("tsv", _tsv("tsv"), lambda f: TSVStore(f / "f.tsv")),
    Reader("tsv.gz", _tsv("tsv.gz"), lambda f: TSVStore(f / "f.tsv.gz", SCANS)),
    Reader("hdf5", _hdf5, _read_hdf5),
    Reader("houses", _house, read_houses),
    Reader("irl config", _config("irl"), _configuration("irl")),
    Reader("align config", _config("align"), _configuration("align")),
    Reader("search file", _search_file, _search),
    Reader("arrays", _arrays, _read_arrays),
    Reader("parquet table", _parquet, lambda f: read_table(f / "pairs.parquet")),
    Reader("pairs parquet", _parquet, lambda f: read_preferences(f / "pairs.parquet")),
    Reader(
        "pairs jsonl",
        _write(pairs__jsonl=_lines(PAIR, PAIR | {"prompt": "How near?"})),
        lambda f: read_preferences(f / "pairs.jsonl"),
    ),
    Reader(
        "pairs jsonl.gz",
        _write(pairs__jsonl__gz=gzip.compress(_lines(PAIR, PAIR | {"prompt": "How near?"}))),
        lambda f: read_preferences(f / "pairs.jsonl.gz"),
    ),
    Reader(
        "pairs list",
        _write(pairs__json=json.dumps([PAIR, PAIR | {"prompt": "How near?"}]).encode()),
        lambda f: read_preferences(f / "pairs.json"),
    ),
    Reader("rewrites", _write(cqr__json=json.dumps([CQR] * 2).encode()),
           lambda f: read_rewrites(f / "cqr.json")),
    Reader("utterances", _write(snips__json=json.dumps(SNIPS).encode()),
           lambda f: read_utterances(f / "snips.json")),
    Reader("questions", _write(qrecc__json=json.dumps([QRECC] * 2).encode()),
           lambda f: read_rewrites(f / "qrecc.json")),
    Reader("massive", _write(en__jsonl=b"\n".join([json.dumps(MASSIVE).encode()] * 2)),
           lambda f: read_massive(f / "en.jsonl")),
    Reader("engine", _write(Luis_metrics__json=json.dumps(ENGINE).encode()),
           lambda f: read_engine(f / "Luis_metrics.json")),
    Reader("rewriter", _rewriter, lambda f: load_rewriter(f / "rewriter")),
    Reader("run report", _run, _report),
    Reader("checkpoint", _checkpoint, _load_checkpoint),
    Reader("run folder", _loadable, _loaded),
    Reader(
        "vocabulary",
        _loadable,
        lambda f: Vocabulary.from_json(read_text(f / "vocabulary.json", kind=RunError)),
        "vocabulary.json",
    ),
    Reader("stage", _scene, _stage, "made.stage_config.json"),
    Reader("annotation", _scene, _annotation, "*.txt"),
    Reader("glb", _mesh("glb"), _read_meshes),
    Reader("ply", _mesh("ply"), _read_meshes),
    Reader("obj", _mesh("obj"), _read_meshes),
    Reader("navmesh", _navmesh, _read_navmesh),
    Reader("furnished scene", _furnished, _read_furnished, "*.[ju]*"),
    Reader("search folder", _search_folder, _read_search_folder, "*.[jy]*"),
    Reader("run's own files", _run_files, _read_run_files, "*.json*"),
)  # fmt: skip

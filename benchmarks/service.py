"""The rewriting service under load, killed, reloaded, and asked by strangers.

    python -m benchmarks.service --out runs/service

Starts `rayforge feedback serve` on one core, with 10^5 entries, and asks it from another. Every
answer is held against the one that the rewriter gives in this process. Each part can be left out.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import tyro
from aiohttp import ClientError, ClientSession, TCPConnector

from rayforge.feedback.encoder import Query, RequestEncoder
from rayforge.feedback.entries import Entry
from rayforge.feedback.ranking import train_ranker
from rayforge.feedback.rewriter_files import read_entries, save_rewriter
from rayforge.feedback.rewriting import Rewriter
from rayforge.feedback.rewriting_config import EncoderConfig, RankerConfig, RewritingConfig
from rayforge.files import write_json
from rayforge.readers.json_text import read_object
from trainers.feedback.front import BODY, as_body

_TEXT = (
    "go walk turn left right past through the kitchen bedroom hallway bathroom stairs up down door"
    " table sofa lamp window office garage balcony closet pantry library wait stop near behind then"
    " into out of room second first end hall sink bed painting rug chair"
)
WORDS = tuple(_TEXT.split())


@dataclass(frozen=True)
class Benchmark:
    """Load, kills, reloads, privacy and hostile input of the rewriting service."""

    out: Path = Path("runs/service")
    entries: int = 100_000
    """Half of them are everyone's, half are those of 1,000 users."""
    seconds: float = 8.0
    """Of each load."""
    concurrent: tuple[int, ...] = (10, 100, 1000)
    privacy: int = 100_000
    """Requests of users, each with entries of their own, to one rewriter in this process."""
    faults: bool = True
    """Kill a replica, replace the rewriter, send hostile input."""

    def __call__(self) -> None:
        torch.set_num_threads(1)
        self.out.mkdir(parents=True, exist_ok=True)
        folder = self.out / "rewriter"
        if not folder.exists():
            save_rewriter(make_rewriter(self.entries), folder)
        entries = read_entries(folder)
        print(f"{len(entries)} entries", flush=True)
        if self.concurrent:
            with Served(self.out, replicas=1, core=0) as served:
                asyncio.run(load(served, entries, self.concurrent, self.seconds))
        if not self.faults and not self.privacy:
            return
        rewriter = make_rewriter(len(entries))
        print(f"an answer takes {answer_ms(rewriter):.2f} ms of a core without the service")
        if self.faults:
            save_rewriter(rewriter, folder)
            with Served(self.out, replicas=2, core=None) as served:
                asyncio.run(faults(served, rewriter, folder))
        if self.privacy:
            print(privacy(rewriter, self.privacy, self.out / "privacy.json"))


def make_rewriter(count: int) -> Rewriter:
    """Made-up requests; the ranker goes by retrieval and letters, and is trained on noise."""
    generator = np.random.default_rng(0)

    def text() -> str:
        return " ".join(generator.choice(WORDS, generator.integers(4, 12)))

    entries = [Entry(text(), None, int(generator.integers(3, 99)), 1) for _ in range(count // 2)]
    entries += [
        Entry(f"{text()} {n}", f"user{n % 1000}", int(generator.integers(1, 9)), 0)
        for n in range(count - len(entries))
    ]
    torch.manual_seed(0)
    encoder = RequestEncoder(EncoderConfig(width=64)).eval()
    encoder.start_weights([entry.text for entry in entries[:5000]])
    from rayforge.feedback.ranking import FEATURES

    features = generator.normal(size=(400, len(FEATURES))).astype(np.float32)
    near = features[:, FEATURES.index("letters")] + features[:, FEATURES.index("score")]
    ranker = train_ranker(RankerConfig(epochs=5), features, near > 0)
    config = RewritingConfig(
        index="lists", personal_threshold=0.55, global_threshold=0.55, good_count=10**9,
        budget_ms=10_000,
    )  # fmt: skip
    return Rewriter(config, encoder, ranker, entries, {"go to the etic": ("go to the attic", 1.0)})


def requests_for(entries: list[Entry], count: int, seed: int) -> list[tuple[str, str]]:
    """(user, request): requests of entries with a letter wrong."""
    generator = np.random.default_rng(seed)
    found = []
    for n in generator.integers(0, len(entries), count):
        text = entries[n].text
        place = int(generator.integers(1, len(text) - 1))
        found.append((f"user{generator.integers(1000)}", f"{text[:place]}z{text[place + 1 :]}"))
    return found


def answer_ms(rewriter: Rewriter) -> float:
    """Milliseconds of a core that a request takes."""
    requests = requests_for(rewriter.entries, 300, 4)
    begin = time.process_time()
    for user, text in requests:
        rewriter.answer(user, Query(text))
    return 1000 * (time.process_time() - begin) / len(requests)


class Served:
    """The command in a process of its own, until the block ends."""

    def __init__(self, out: Path, replicas: int, core: int | None) -> None:
        ready = out / "ready"
        ready.unlink(missing_ok=True)
        command = [
            sys.executable, "-m", "trainers.cli", "feedback", "serve", str(out / "rewriter"),
            "--port", "0", "--ready", str(ready), "--replicas", str(replicas),
        ]  # fmt: skip
        if core is not None:
            command = ["taskset", "-c", str(core), *command]
        self.log = (out / "serve.log").open("w")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        for _ in range(1200):
            if ready.exists() and ready.read_text().strip():
                break
            if self.process.poll() is not None:
                raise SystemExit(f"the service ended: see {out / 'serve.log'}")
            time.sleep(0.2)
        self.url = f"http://{ready.read_text().strip()}"
        token = (out / "rewriter.token").read_text().strip()
        self.headers = {"Authorization": f"Bearer {token}"}

    def __enter__(self) -> Served:
        return self

    def cpu_s(self) -> float:
        """Seconds of CPU that all processes of the service have taken."""
        own = psutil.Process(self.process.pid)
        times = [p.cpu_times() for p in (own, *own.children(recursive=True))]
        return float(sum(t.user + t.system for t in times))

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()


async def load(
    served: Served, entries: list[Entry], concurrent: tuple[int, ...], seconds: float
) -> None:
    requests = requests_for(entries, 2000, 1)
    print("| concurrent | requests/s | p50 ms | p99 ms | errors | ms of CPU a request |")
    print("|---|---|---|---|---|---|")
    for count in concurrent:
        async with ClientSession(
            connector=TCPConnector(limit=0), headers=served.headers
        ) as session:
            await clients(session, served.url, requests, count, min(2.0, seconds))  # warm up
            spent = served.cpu_s()
            times, errors, took = await clients(session, served.url, requests, count, seconds)
            spent = served.cpu_s() - spent
        ms = np.array(times) * 1000
        print(
            f"| {count} | {len(times) / took:.0f} | {np.percentile(ms, 50):.1f} |"
            f" {np.percentile(ms, 99):.1f} | {errors} | {1000 * spent / len(times):.1f} |",
            flush=True,
        )  # fmt: skip


async def clients(
    session: ClientSession, url: str, requests: list[tuple[str, str]], count: int, seconds: float
) -> tuple[list[float], int, float]:
    """Times of the answers that came in `seconds`, errors, and how long it took."""
    times: list[float] = []
    errors = 0
    begin = time.monotonic()

    async def client(number: int) -> None:
        nonlocal errors
        turn = number
        while time.monotonic() - begin < seconds:
            user, text = requests[turn % len(requests)]
            turn += count
            asked = time.monotonic()
            try:
                async with session.post(f"{url}/rewrite", data=as_body(text, user)) as found:
                    await found.read()
                    errors += found.status != 200
            except ClientError:
                errors += 1
            times.append(time.monotonic() - asked)

    await asyncio.gather(*map(client, range(count)))
    return times, errors, time.monotonic() - begin


async def faults(served: Served, rewriter: Rewriter, folder: Path) -> None:
    """A replica killed under load, the rewriter replaced under load, hostile input."""
    requests = requests_for(rewriter.entries, 300, 2)
    expected = [rewriter.answer(user, Query(text)).rewrite for user, text in requests]
    other = Rewriter(
        replace(rewriter.config, personal_threshold=1.0, global_threshold=1.0), rewriter.encoder,
        rewriter.ranker, rewriter.entries, rewriter.table,
    )  # fmt: skip
    async with ClientSession(connector=TCPConnector(limit=0), headers=served.headers) as session:
        for what in ("killed", "replaced"):
            answers: list[tuple[int, str, str | None]] = []
            stop = asyncio.Event()
            tasks = [
                asyncio.create_task(ask_on(session, served.url, requests, k, 20, answers, stop))
                for k in range(20)
            ]
            await asyncio.sleep(3)
            if what == "killed":
                kill(served)
            else:
                await asyncio.to_thread(save_rewriter, other, folder)
            await asyncio.sleep(8)
            for _ in range(120):  # until no answer is of the first version
                if what == "killed" or all(v != answers[0][1] for _, v, _ in answers[-40:]):
                    break
                await asyncio.sleep(0.5)
            stop.set()
            await asyncio.gather(*tasks)
            versions = sorted({version for _, version, _ in answers})
            first = answers[0][1]
            wrong = sum(
                rewrite != (expected[n] if version == first else None)
                for n, version, rewrite in answers
            )
            lost = sum(version == "" for _, version, _ in answers)
            print(f"{what} under load: {len(answers)} requests of 20 clients, {lost} lost,"
                  f" {wrong} answered wrongly, {len(versions)} versions")  # fmt: skip
        async with session.get(f"{served.url}/health") as found:
            print(f"batches asked again: {(await found.json())['retried']}")
    await hostile(served)


async def ask_on(
    session: ClientSession, url: str, requests: list[tuple[str, str]], first: int, step: int,
    answers: list[tuple[int, str, str | None]], stop: asyncio.Event,
) -> None:  # fmt: skip
    turn = first
    while not stop.is_set():
        n = turn % len(requests)
        turn += step
        user, text = requests[n]
        try:
            async with session.post(f"{url}/rewrite", data=as_body(text, user)) as found:
                record: dict[str, Any] = await found.json() if found.status == 200 else {}
        except ClientError:
            record = {}
        answers.append((n, record.get("version", ""), record.get("rewrite")))


def kill(served: Served) -> None:
    """End one replica's process as the system would when memory runs out."""
    for process in psutil.Process(served.process.pid).children(recursive=True):
        if "ServeReplica" in " ".join(process.cmdline()):
            os.kill(process.pid, signal.SIGKILL)
            return
    raise SystemExit("no replica's process was found")


async def hostile(served: Served) -> None:
    cases: list[tuple[str, bytes, dict[str, str]]] = [
        ("no token", as_body("go"), {}),
        ("wrong token", as_body("go"), {"Authorization": "Bearer nothing-of-the-kind"}),
        ("oversized", b"x" * (BODY + 1), served.headers),
        ("10 MB", b"x" * 10_000_000, served.headers),
        ("binary", os.urandom(1000), served.headers),
        ("nested", b"[" * 30_000, served.headers),
        ("not a request", json.dumps({"request": {"$ne": 1}}).encode(), served.headers),
        ("long request", as_body("x" * 5000), served.headers),
        ("empty", b"", served.headers),
    ]
    async with ClientSession() as session:
        for name, body, headers in cases:
            try:
                async with session.post(
                    f"{served.url}/rewrite", data=body, headers=headers
                ) as found:
                    text = await found.text()
                    lines = text.count("\n")
                    print(f"  {name}: {found.status}, {lines} line: {text.strip()[:90]}")
            except ClientError as error:
                print(f"  {name}: connection closed ({type(error).__name__})")


def privacy(rewriter: Rewriter, count: int, state: Path) -> str:
    """How often an answer was another user's own entry, over requests close to such entries."""
    own: dict[str, set[str]] = {}
    for entry in rewriter.entries:
        if entry.user is not None:
            own.setdefault(entry.user, set()).add(entry.text)
    shared = {entry.text for entry in rewriter.entries if entry.user is None}
    private = [entry for entry in rewriter.entries if entry.user is not None]
    # Every candidate is taken: nothing but the index stands between two users.
    config = replace(rewriter.config, personal_threshold=0.0, personal_k=2, global_k=2)
    open_to_all = Rewriter(config, rewriter.encoder, rewriter.ranker, rewriter.entries)
    done = {"requests": 0, "personal": 0, "leaks": 0}
    if state.exists():
        done = read_object(state)
    while done["requests"] < count:
        # A thousand at a time, written down: the same command goes on where it was broken off.
        generator = np.random.default_rng((3, done["requests"]))
        for _ in range(min(1000, count - done["requests"])):
            user = f"user{generator.integers(1100)}"  # a hundred of them have no entry
            target = private[int(generator.integers(len(private)))].text
            answer = open_to_all.answer(user, Query(target))
            done["requests"] += 1
            done["personal"] += answer.layer == "personal"
            if answer.rewrite is not None:
                mine = answer.rewrite in own.get(user, set()) or answer.rewrite in shared
                done["leaks"] += not mine
        write_json(state, done)
    return (
        f"privacy: {done['requests']} requests close to other users' entries, {done['personal']}"
        f" answered from the asker's own entries, {done['leaks']} with another user's"
    )


if __name__ == "__main__":
    tyro.cli(Benchmark)()

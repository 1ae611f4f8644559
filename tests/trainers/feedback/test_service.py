"""The rewriting service: what its front refuses, how it asks replicas, kills and reloads."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientSession

from rayforge.errors import ConfigurationError, DataError
from rayforge.feedback.encoder import RequestEncoder
from rayforge.feedback.entries import Entry
from rayforge.feedback.ranking import FEATURES, Ranker
from rayforge.feedback.rewriter_files import save_rewriter
from rayforge.feedback.rewriting import Rewriter
from rayforge.feedback.rewriting_config import EncoderConfig, RewritingConfig
from trainers.feedback.front import (
    BODY,
    MOST,
    TRIES,
    BadRequest,
    Front,
    as_body,
    listening,
    parse_request,
)
from trainers.feedback.replica import Asked
from trainers.feedback.rewriting_commands import Serve
from trainers.feedback.service import start_replicas, token_of

TOKEN = "0123456789abcdef"
ENTITLED = {"Authorization": f"Bearer {TOKEN}"}
Talk = Callable[[ClientSession, str], Awaitable[None]]


async def echo(batch: list[Asked]) -> list[dict[str, Any]]:
    return [{"rewrite": asked.request.upper(), "batch": len(batch)} for asked in batch]


def talk(front: Front, what: Talk) -> None:
    """Run a conversation with a front over HTTP."""

    async def run() -> None:
        async with listening(front, "127.0.0.1", 0) as place, ClientSession() as session:
            await what(session, f"http://{place}")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body: not valid JSON"),
        (b"\xff\xfe\x00binary", "the body: cannot be read"),
        (gzip.compress(b"{}", mtime=0), "the body: cannot be read"),
        (b"[" * 20_000, "nested too deep|not valid JSON"),
        (b"[]", "must be an object, found a list"),
        (b'{"request": "a", "request": "b"}', "stands twice"),
        (b'{"request": 3}', "request must be a text, found 3"),
        (b"{}", "request must be a text, found None"),
        (b'{"request": "go", "evil": 1}', "unknown field 'evil'"),
        (b'{"request": "go", "user": ""}', "user must be a text of 1 to 200"),
        (b'{"request": "go", "user": ["ann"]}', "user must be"),
        (b'{"request": "go", "context": "x"}', "context must be a list"),
        (b'{"request": "go", "context": [1]}', "context must be a text"),
        (b'{"request": "go", "time": true}', "time must be a number"),
        (b'{"request": "go", "time": NaN}', "time must be a number"),
        (b'{"request": "go", "budget_ms": -1}', "budget_ms must be in"),
        (b'{"request": "\\ud800"}', "surrogate"),
        (json.dumps({"request": "x" * 2001}).encode(), "request has 2001 characters"),
        (json.dumps({"request": "x", "context": ["y"] * 21}).encode(), "at most 20 texts"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused_in_one_line(body: bytes, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as error:
        parse_request(body)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250


def test_a_request_is_read_whole() -> None:
    asked = parse_request(b'{"request": "go\\u0000", "user": "ann", "context": ["a"], "time": 5}')
    assert asked == Asked("ann", "go\x00", ("a",), 5.0, None)
    assert parse_request(as_body("go", "bob", ("x",))) == Asked("bob", "go", ("x",), 0.0, None)


def test_the_front_answers_and_refuses() -> None:
    async def conversation(session: ClientSession, url: str) -> None:
        async with session.post(f"{url}/rewrite", data=as_body("go"), headers=ENTITLED) as found:
            assert (found.status, (await found.json())["rewrite"]) == (200, "GO")
        cases: list[tuple[int, str, str, dict[str, Any]]] = [
            (401, "POST", "/rewrite", {"data": as_body("go")}),
            (401, "POST", "/rewrite", {"data": as_body("go"),
                                       "headers": {"Authorization": f"Bearer {TOKEN}x"}}),
            (401, "GET", "/health", {}),
            (404, "GET", "/etc/passwd", {"headers": ENTITLED}),
            (405, "GET", "/rewrite", {"headers": ENTITLED}),
            (400, "POST", "/rewrite", {"data": b"\x00\xff", "headers": ENTITLED}),
            (413, "POST", "/rewrite", {"data": b" " * (BODY + 1), "headers": ENTITLED}),
        ]  # fmt: skip
        for status, method, path, more in cases:
            async with session.request(method, url + path, **more) as found:
                text = await found.text()
                assert (found.status, text.count("\n"), text[-1:]) == (status, 1, "\n"), text

        async def endless() -> Any:
            for _ in range(100):
                yield b" " * 4096

        # Without a length, in pieces: what is read stops at the limit.
        async with session.post(f"{url}/rewrite", data=endless(), headers=ENTITLED) as found:
            assert found.status == 413

    talk(Front(echo, TOKEN), conversation)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00binary\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
        b"POST /rewrite HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"b" * 9000 + b"\r\n\r\n",
        b"POST /rewrite HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer 0123456789abcdef\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzzz\r\n",
        b"POST /rewrite HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer 0123456789abcdef\r\n"
        b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
    ],
)  # fmt: skip
def test_what_is_no_http_is_refused_in_one_line(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> bytes:
        async with listening(Front(echo, TOKEN), "127.0.0.1", 0) as place:
            host, _, port = place.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(sent)
            answer = await asyncio.wait_for(reader.read(4000), 5)
            writer.close()
            return answer

    head, _, body = asyncio.run(run()).partition(b"\r\n\r\n")
    assert head.split()[1] == b"400"
    assert body.count(b"\n") == 1
    assert len(body) < 200
    assert not caplog.records


def test_a_body_that_comes_slowly_or_breaks_off_ends(caplog: pytest.LogCaptureFixture) -> None:
    """A client that never sends the rest holds no connection for ever, and one that hangs up is no
    fault of the service."""
    head = (
        f"POST /rewrite HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n"
        "Content-Length: 500\r\n\r\n{"
    ).encode()
    front = Front(echo, TOKEN)
    front.body_s = 0.2

    async def slowly(session: ClientSession, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head)
        answer = await asyncio.wait_for(reader.read(), 20)
        assert answer.startswith(b"HTTP/1.1 408 ") and b"the body did not come" in answer
        _, gone = await asyncio.open_connection(host, int(port))
        gone.write(head)
        await gone.drain()
        await asyncio.sleep(0.05)
        gone.transport.abort()
        body = json.dumps({"request": "go"})
        async with session.post(f"{url}/rewrite", data=body, headers=ENTITLED) as reply:
            assert reply.status == 200
        writer.close()

    talk(front, slowly)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_waiting_requests_go_together_and_keep_their_answers() -> None:
    sizes = []

    async def slow(batch: list[Asked]) -> list[dict[str, Any]]:
        sizes.append(len(batch))
        await asyncio.sleep(0.02)
        return await echo(batch)

    async def conversation(session: ClientSession, url: str) -> None:
        async def one(n: int) -> str:
            body = as_body(f"go {n}")
            async with session.post(f"{url}/rewrite", data=body, headers=ENTITLED) as found:
                return str((await found.json())["rewrite"])

        assert await asyncio.gather(*map(one, range(80))) == [f"GO {n}" for n in range(80)]

    talk(Front(slow, TOKEN, senders=1), conversation)
    assert 1 < max(sizes) <= MOST
    assert sum(sizes) == 80


def test_a_batch_whose_replica_dies_is_asked_again_and_not_for_ever() -> None:
    tries = []

    async def dying(batch: list[Asked]) -> list[dict[str, Any]]:
        tries.append(len(batch))
        if batch[0].request == "doomed" or len(tries) == 1:
            raise RuntimeError("the replica is gone")
        return await echo(batch)

    async def conversation(session: ClientSession, url: str) -> None:
        async with session.post(f"{url}/rewrite", data=as_body("go"), headers=ENTITLED) as found:
            assert (await found.json())["rewrite"] == "GO"
        body = as_body("doomed")
        async with session.post(f"{url}/rewrite", data=body, headers=ENTITLED) as found:
            assert (found.status, (await found.text()).count("\n")) == (503, 1)

    talk(Front(dying, TOKEN, pause_s=0.001), conversation)
    assert len(tries) == 2 + TRIES


def test_a_request_that_waited_its_budget_out_is_answered_without_a_replica() -> None:
    async def slow(batch: list[Asked]) -> list[dict[str, Any]]:
        await asyncio.sleep(0.1)
        return await echo(batch)

    async def conversation(session: ClientSession, url: str) -> None:
        async def one(body: bytes) -> dict[str, Any]:
            async with session.post(f"{url}/rewrite", data=body, headers=ENTITLED) as found:
                record: dict[str, Any] = await found.json()
                return record

        first = asyncio.create_task(one(as_body("go")))
        await asyncio.sleep(0.02)
        late = await one(b'{"request": "go", "budget_ms": 5}')
        assert (late["rewrite"], late["reason"]) == (None, "budget")
        assert (await first)["rewrite"] == "GO"

    talk(Front(slow, TOKEN, senders=1), conversation)


def test_the_token_is_made_once_and_read_by_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "token"
    token = token_of(file)
    assert token_of(file) == token
    assert file.stat().st_mode & 0o077 == 0
    file.write_text("short\n")
    with pytest.raises(ConfigurationError, match="16 characters"):
        token_of(file)


def test_serving_beyond_this_machine_must_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="add --open"):
        Serve(tmp_path, host="0.0.0.0")()
    with pytest.raises(DataError, match="no such file"):
        start_replicas(tmp_path / "missing", 1)


def small_rewriter(table: dict[str, tuple[str, float]]) -> Rewriter:
    torch_free = np.zeros((1, len(FEATURES)), np.float32)
    arrays = {
        "mean": torch_free[0], "scale": torch_free[0] + 1, "inner": torch_free,
        "inner_bias": np.zeros(1, np.float32), "outer": np.zeros(1, np.float32),
        "outer_bias": np.zeros(1, np.float32),
    }  # fmt: skip
    encoder = RequestEncoder(EncoderConfig(width=8)).eval()
    config = RewritingConfig(global_threshold=1.0, personal_threshold=1.0)
    return Rewriter(config, encoder, Ranker(arrays), [Entry("go to bed", None)], table)


@pytest.mark.ray
def test_no_request_is_lost_when_a_replica_is_killed_or_the_rewriter_replaced(
    cluster: None, tmp_path: Path
) -> None:
    import ray
    from ray import serve

    folder = tmp_path / "rewriter"
    save_rewriter(small_rewriter({"go": ("go up", 1.0)}), folder)
    ask = start_replicas(folder, 2)
    answers: list[tuple[int, str | None]] = []
    try:

        async def conversation(session: ClientSession, url: str) -> None:
            stop = asyncio.Event()

            async def client() -> None:
                while not stop.is_set():
                    body = as_body("Go!")
                    async with session.post(f"{url}/rewrite", data=body, headers=ENTITLED) as found:
                        answers.append((found.status, (await found.json())["rewrite"]))

            clients = [asyncio.create_task(client()) for _ in range(8)]
            await until(lambda: len(answers) > 20)
            names = ray.util.list_named_actors(all_namespaces=True)
            replica = next(n for n in names if n["name"].startswith("SERVE_REPLICA"))
            ray.kill(ray.get_actor(replica["name"], namespace=replica["namespace"]))
            count = len(answers)
            await until(lambda: len(answers) > count + 40)
            save_rewriter(small_rewriter({"go": ("go down", 1.0)}), folder)
            await until(lambda: all(rewrite == "go down" for _, rewrite in answers[-40:]))
            stop.set()
            await asyncio.gather(*clients)

        async def until(true: Callable[[], bool]) -> None:
            for _ in range(1200):
                if true():
                    return
                await asyncio.sleep(0.05)
            raise AssertionError(f"not within a minute; {len(answers)} answers")

        talk(Front(ask, TOKEN), conversation)
    finally:
        serve.shutdown()
    assert {status for status, _ in answers} == {200}
    assert {rewrite for _, rewrite in answers} == {"go up", "go down"}

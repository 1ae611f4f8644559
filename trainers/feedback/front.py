"""The front of the rewriting service: HTTP on one side, the replicas' handle on the other.

Whatever may be hostile ends here: no token, a body that is too large, binary or no JSON, a field of
another kind. Each is refused with one line of text before a replica hears of it. Requests that wait
go to a replica together, up to `MOST` at a time: under load that takes most of Ray's cost a request
away. A batch whose replica dies is asked again of another one, since an answer changes nothing.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from rayforge.errors import DataError
from rayforge.feedback.rewriting import Answer
from rayforge.readers.faults import kind_of, one_line, shown
from rayforge.readers.json_text import parse_json
from trainers.feedback.replica import Asked

BODY = 32 * 1024
"""Bytes of a request's body at most."""
TEXT = 2_000
"""Characters of a request, and of each text before it."""
BODY_S = 10.0
"""Seconds that a body may take to come; its head may take as long as a connection stays open."""
CONTEXT = 20
"""Texts before it."""
NAME = 200
"""Characters of a user's name."""
MOST = 32
"""Requests that go to a replica together."""
WAITING = 5_000
"""Requests that wait at most; one more is refused with 503 at once."""
TRIES = 6
"""Times that a batch is asked before its requests are answered with 503."""

log = logging.getLogger("rayforge.feedback")
Ask = Callable[[list[Asked]], Awaitable[list[dict[str, Any]]]]
"""Asks some replica; raises where it is gone."""


Item = tuple[Asked, float, asyncio.Future[dict[str, Any]]]
"""A request, when it came (`time.monotonic`), and where its answer goes."""


class BadRequest(ValueError):
    """A request that is refused with 400 and this line."""


class Front:
    """Takes requests, asks replicas, answers."""

    def __init__(self, ask: Ask, token: str, senders: int = 4, pause_s: float = 0.2) -> None:
        self._ask, self._token, self._senders, self._pause_s = ask, token, senders, pause_s
        self._waiting: asyncio.Queue[Item]
        self._tasks: list[asyncio.Task[None]] = []
        self.body_s = BODY_S
        self.retried = 0
        """Batches that were asked again."""

    def application(self) -> web.Application:
        application = web.Application(client_max_size=BODY, middlewares=[_plain_errors])
        application.router.add_post("/rewrite", self._rewrite)
        application.router.add_get("/health", self._health)
        application.on_startup.append(self._start)
        application.on_cleanup.append(self._stop)
        return application

    async def _start(self, _: web.Application) -> None:
        self._waiting = asyncio.Queue(WAITING)
        self._tasks = [asyncio.create_task(self._send()) for _ in range(self._senders)]

    async def _stop(self, _: web.Application) -> None:
        for task in self._tasks:
            task.cancel()

    async def _health(self, request: web.Request) -> web.Response:
        self._check_token(request)
        return web.json_response({"retried": self.retried})

    async def _rewrite(self, request: web.Request) -> web.Response:
        self._check_token(request)
        if request.content_length is not None and request.content_length > BODY:
            raise web.HTTPRequestEntityTooLarge(BODY, request.content_length)
        try:
            body = await asyncio.wait_for(request.read(), self.body_s)
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        asked = parse_request(body)
        answered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        try:
            self._waiting.put_nowait((asked, time.monotonic(), answered))
        except asyncio.QueueFull:
            raise web.HTTPServiceUnavailable(text="too many requests wait; later\n") from None
        return web.json_response(await answered)

    def _check_token(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "")
        wanted = f"Bearer {self._token}"
        if not hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode()):
            raise web.HTTPUnauthorized(
                text="the token is missing or wrong: send the header Authorization: Bearer TOKEN\n",
                headers={"WWW-Authenticate": "Bearer"},
            )

    async def _send(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < MOST and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            # Whoever hung up needs no answer.
            batch = [item for item in map(_in_time, batch) if not item[2].done()]
            if batch:
                await self._answer(batch)

    async def _answer(self, batch: list[Item]) -> None:
        for attempt in range(TRIES):
            try:
                answers = await self._ask([asked for asked, _, _ in batch])
            except asyncio.CancelledError:
                raise
            except Exception:  # whatever Ray says of a replica that is gone
                self.retried += 1
                await asyncio.sleep(self._pause_s * (attempt + 1))
                continue
            for (_, _, answered), answer in zip(batch, answers, strict=True):
                if not answered.done():
                    answered.set_result(answer)
            return
        for _, _, answered in batch:
            if not answered.done():
                answered.set_exception(
                    web.HTTPServiceUnavailable(text="no replica answers; try again later\n")
                )


def _in_time(item: Item) -> Item:
    """A request with what is left of its own budget; one that has waited it out is answered."""
    asked, came, answered = item
    if asked.budget_ms is None or answered.done():
        return item
    left = asked.budget_ms - 1000 * (time.monotonic() - came)
    if left <= 0:
        answered.set_result(Answer(None, "budget")._asdict() | {"version": ""})
    return asked._replace(budget_ms=left), came, answered


@web.middleware
async def _plain_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Errors as one line of text."""
    try:
        return await handler(request)
    except BadRequest as error:
        return web.Response(status=400, text=f"{error}\n")
    except web.HTTPRequestEntityTooLarge:
        text = f"the body is larger than {BODY} bytes\n"
        return web.Response(status=413, text=text, headers={"Connection": "close"})
    except web.HTTPRequestTimeout:
        text = f"the body did not come within {BODY_S:.0f} s\n"
        return web.Response(status=408, text=text, headers={"Connection": "close"})
    except ConnectionError:  # whoever hung up in the middle of a body; no fault to be logged
        return web.Response(status=400, text="the body was cut short\n")
    except web.HTTPNotFound:
        return web.Response(status=404, text="there is POST /rewrite, and GET /health\n")
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return web.Response(status=405, text=f"only {allowed} here\n", headers={"Allow": allowed})


class _OneLine(web.RequestHandler):
    """A connection. What is no HTTP at all is refused in one line, and no log grows from it."""

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:  # fmt: skip
        if status >= 500:
            log.error("a request failed", exc_info=exc)
            message = "a fault of the service; it is in its log"
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was under way")
        text = one_line(message or "this is no HTTP request", 120)
        response = web.Response(status=status, text=f"{text}\n")
        response.force_close()
        return response


@asynccontextmanager
async def listening(front: Front, host: str, port: int) -> AsyncIterator[str]:
    """Take requests while the block runs; its value is HOST:PORT. Raises OSError where the port is
    taken."""
    runner = web.AppRunner(front.application(), access_log=None, handle_signals=False)
    await runner.setup()
    loop = asyncio.get_running_loop()

    def connection() -> asyncio.Protocol:
        assert runner.server is not None, "set up above"
        # A packed body stays packed, and is no JSON then.
        return _OneLine(runner.server, loop=loop, keepalive_timeout=75, auto_decompress=False)

    server = await loop.create_server(connection, host, port, backlog=2048)
    try:
        place = server.sockets[0].getsockname()
        yield f"[{place[0]}]:{place[1]}" if ":" in place[0] else f"{place[0]}:{place[1]}"
    finally:
        server.close()
        await runner.cleanup()


def parse_request(body: bytes) -> Asked:
    """The fields of a request: {"request": TEXT} and, each if wanted, "user", "context" (a list of
    texts, oldest first), "time" (seconds since 1970) and "budget_ms".

    Raises BadRequest with one line for anything else.
    """
    try:
        record = parse_json(body, "the body")
    except DataError as error:
        raise BadRequest(str(error)) from None
    if not isinstance(record, dict):
        raise BadRequest(f"the body must be an object, found {kind_of(record)}")
    unknown = sorted(set(record) - {"request", "user", "context", "time", "budget_ms"})
    if unknown:
        raise BadRequest(f"unknown field {shown(unknown[0])}")
    user, context = record.get("user"), record.get("context", [])
    if user is not None and (not isinstance(user, str) or not 0 < len(user) <= NAME):
        raise BadRequest(f"user must be a text of 1 to {NAME} characters, found {shown(user)}")
    if not isinstance(context, list) or len(context) > CONTEXT:
        raise BadRequest(f"context must be a list of at most {CONTEXT} texts")
    for name, text in (("request", record.get("request")), *(("context", t) for t in context)):
        if not isinstance(text, str):
            raise BadRequest(f"{name} must be a text, found {shown(text)}")
        if len(text) > TEXT:
            raise BadRequest(f"{name} has {len(text)} characters; {TEXT} at most")
    seconds = _number(record, "time", 0.0, 1e11)
    budget = _number(record, "budget_ms", 1e-3, 1e6)
    return Asked(user, record["request"], tuple(context), seconds or 0.0, budget)


def _number(record: dict[str, Any], name: str, least: float, most: float) -> float | None:
    value = record.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRequest(f"{name} must be a number, found {shown(value)}")
    if not least <= value <= most:
        raise BadRequest(f"{name} must be in [{least:g}, {most:g}], got {shown(value)}")
    return float(value)


def as_body(request: str, user: str | None = None, context: tuple[str, ...] = ()) -> bytes:
    """The body that asks for a rewrite."""
    return json.dumps({"request": request, "user": user, "context": list(context)}).encode()

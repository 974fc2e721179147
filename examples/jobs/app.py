"""A job server: HTTP starts jobs, sockets follow and cancel them, and what has begun may be finished when the server stops."""

from __future__ import annotations

import os
import secrets
import signal
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
import trio
from hypercorn.config import Config
from msgspec import Meta
from quart import request
from quart_trio import QuartTrio

from trio_sio import BadMessage, Route, RoutingTable, Server, Socket, on_message, server_event
from trio_sio.doors.hypercorn import serve

STEP = 20_000
GRACE = 10.0  # seconds that a job may still take when the server stops, if it is one that shall be finished
MOST = 100  # jobs that run, or wait for a thread
KEPT = 1_000  # the newest jobs, whose results can be asked for
AT_ONCE = trio.CapacityLimiter(2)  # threads that count


class Order(msgspec.Struct):
    """What a client posts: count the primes below a number; ``finish`` says what a stopping server does with it."""

    below: Annotated[int, Meta(ge=2, le=10_000_000)]
    finish: bool = False


@dataclass
class Job:
    """What is known of a job; whoever knows its id may follow and cancel it."""

    id: str
    below: int
    state: Literal["running", "done", "cancelled"] = "running"
    tested: int = 0
    primes: int = 0


@server_event
def progress(job: Job) -> None:
    """A job that one watches has come further; of these only the newest matters."""


@server_event
def ended(job: Job) -> None:
    """A job that one watches is done, or was cancelled."""


def count_primes(start: int, stop: int) -> int:
    """What takes long, and computes: work for a thread."""
    return sum(number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1)) for number in range(start, stop))


@dataclass
class Jobs:
    """All jobs, and what clients can do about them."""

    known: dict[str, Job] = field(default_factory=dict)
    scopes: dict[str, trio.CancelScope] = field(default_factory=dict)

    def start(self, server: Server, order: Order) -> Job:
        job = Job(secrets.token_urlsafe(), order.below)
        self.known[job.id] = job
        if len(self.known) > KEPT:
            del self.known[next(iter(self.known))]
        self.scopes[job.id] = trio.CancelScope(shield=order.finish)
        server.start_soon(self.run, server, job)
        return job

    async def run(self, server: Server, job: Job) -> None:
        """Do the job. A server that stops cancels it: at once, or where its scope is shielded `GRACE` seconds later."""
        room, scope = server.to(f"job:{job.id}"), self.scopes[job.id]
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.hurry_at_the_end, scope)
                with scope:
                    for start in range(0, job.below, STEP):
                        stop = min(start + STEP, job.below)
                        job.primes += await trio.to_thread.run_sync(count_primes, start, stop, limiter=AT_ONCE)
                        job.tested = stop
                        room.volatile(key=job.id).emit_nowait(progress, job)
                nursery.cancel_scope.cancel()
        finally:
            job.state = "done" if job.tested == job.below else "cancelled"
            del self.scopes[job.id]
            room.emit_nowait(ended, job)

    async def hurry_at_the_end(self, scope: trio.CancelScope) -> None:
        try:
            await trio.sleep_forever()
        finally:
            scope.deadline = trio.current_time() + GRACE

    @on_message("watch")
    async def watch(self, socket: Socket, id: str) -> Job:
        """Hear of a job from now on; the answer is how far it is."""
        if id not in self.known:
            raise BadMessage("There is no such job.")
        await socket.join(f"job:{id}")
        return self.known[id]

    @on_message("cancel")
    def cancel(self, id: str) -> bool:
        """Cancel a job; false if it has ended."""
        if id in self.scopes:
            self.scopes[id].cancel()
        return id in self.scopes


def make_site(server: Server, jobs: Jobs) -> QuartTrio:
    site = QuartTrio(__name__)

    @site.post("/jobs")
    async def start() -> tuple[dict[str, object] | str, int]:
        try:
            order = msgspec.json.decode(await request.get_data(), type=Order)
        except msgspec.MsgspecError as error:
            return f"{error}\n", 400
        if len(jobs.scopes) >= MOST or not server.ready().ready:
            return "No job can begin now; try again later.\n", 503
        return msgspec.to_builtins(jobs.start(server, order)), 202

    return site


async def stopped() -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        await anext(signals)


async def main() -> None:
    jobs, config = Jobs(), Config()
    server = Server(RoutingTable(Route("/", jobs, events=[progress, ended])))
    config.bind = [f"127.0.0.1:{os.environ.get('PORT', '3000')}"]
    app = server.asgi(make_site(server, jobs))  # what is not Socket.IO's path goes to Quart
    await serve(app, config, shutdown_trigger=stopped)


if __name__ == "__main__":
    trio.run(main)

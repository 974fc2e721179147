// Usage: node jobs.cjs URL
//
// The official client of examples/jobs: two jobs, of which one is watched to its end and one is cancelled.

"use strict";

const assert = require("node:assert/strict");
const { once } = require("node:events");
const { io } = require("socket.io-client");

const [url] = process.argv.slice(2);

async function post(order) {
  const response = await fetch(`${url}/jobs`, { method: "POST", body: JSON.stringify(order) });
  return [response.status, response.status === 202 ? await response.json() : await response.text()];
}

async function main() {
  const socket = io(url);
  const [status, job] = await post({ below: 60_000 });
  assert.equal(status, 202);
  const ended = once(socket, "ended");
  let tested = 0;
  socket.on("progress", (job) => {
    assert.ok(job.tested > tested);
    tested = job.tested;
  });
  const watched = await socket.emitWithAck("watch", job.id);
  const [last] = watched.state === "running" ? await ended : [watched];
  assert.deepEqual(last, { id: job.id, below: 60_000, state: "done", tested: 60_000, primes: 6_057 });

  socket.off("progress");
  const [, long] = await post({ below: 10_000_000, finish: true });
  await socket.emitWithAck("watch", long.id);
  const cancelled = once(socket, "ended");
  assert.equal(await socket.emitWithAck("cancel", long.id), true);
  assert.equal((await cancelled)[0].state, "cancelled");
  assert.equal(await socket.emitWithAck("cancel", long.id), false);

  assert.match((await socket.emitWithAck("watch", "guess")).message, /There is no such job/);
  assert.equal((await post({ below: 1 }))[0], 400);
  assert.equal((await post({}))[0], 400);
  socket.disconnect();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

// Records what Node's adapters and emitter publish, byte by byte, as data for the tests of trio_sio/cluster:
//
//   node tests/cluster/record.cjs        writes tests/cluster/recorded/*.json; needs redis-server and `npm ci`
//
// To be run by hand, when a version in package.json changes. Two servers with one client each talk through a Redis of
// their own; each function below is called in turn, and what goes to Redis until its messages are there belongs to it.

"use strict";

const { spawn } = require("node:child_process");
const fs = require("node:fs");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");
const { createServer } = require("node:http");

const { createClient } = require("redis");
const { Server } = require("socket.io");
const { io: connect } = require("socket.io-client");
const { ClusterAdapterWithHeartbeat } = require("socket.io-adapter");
const classic = require("@socket.io/redis-adapter");
const streams = require("@socket.io/redis-streams-adapter");
const { Emitter } = require("@socket.io/redis-emitter");
const notepack = require(require.resolve("notepack.io", { paths: [require.resolve("@socket.io/redis-adapter")] }));

const BYTES = Buffer.from([0, 1, 0xfe, 0xff]);
const MOMENT = new Date("2026-11-29T12:34:56.789Z");
const RECORDED = path.join(__dirname, "recorded");
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function until(condition, what) {
  for (let turn = 0; turn < 500; turn++) {
    if (await condition()) return;
    await sleep(10);
  }
  throw new Error(`waited for 5 seconds: ${what}`);
}

async function startRedis() {
  const port = await new Promise((resolve) => {
    const probe = net.createServer().listen(0, "127.0.0.1", () => {
      const found = probe.address().port;
      probe.close(() => resolve(found));
    });
  });
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "record-"));
  const redis = spawn("redis-server", ["--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", directory], { stdio: "ignore" });
  await until(
    () =>
      new Promise((resolve) => {
        const probe = net.connect(port, "127.0.0.1", () => resolve(!!probe.destroy()));
        probe.on("error", () => resolve(false));
      }),
    "redis-server"
  );
  return { port, end: () => redis.kill() && fs.rmSync(directory, { recursive: true }) };
}

class Recording {
  #redis;
  #open = [];
  #taken = [];
  entries = [];

  constructor(redis) {
    this.#redis = redis;
  }

  async client() {
    const client = createClient({ socket: { port: this.#redis.port, host: "127.0.0.1" } });
    client.on("error", () => {});
    await client.connect();
    this.#open.push(client);
    return client;
  }

  // A client whose publications are recorded as those of `from`.
  async publisher(from) {
    const client = await this.client();
    for (const command of ["publish", "sPublish"]) {
      const original = client[command].bind(client);
      client[command] = (channel, payload) => {
        this.add({ from, command: command.toLowerCase(), channel, payload: Buffer.from(payload).toString("base64") });
        return original(channel, payload);
      };
    }
    const append = client.xAdd.bind(client);
    client.xAdd = (stream, id, fields, options) => {
      this.add({ from, command: "xadd", channel: stream, fields });
      return append(stream, id, fields, options);
    };
    return client;
  }

  add(message) {
    this.#taken.push(message);
  }

  // Do it, wait for so many messages, and record them under the name of what was called.
  async record(called, count, act) {
    this.#taken = [];
    const outcome = act();
    await until(() => this.#taken.length >= count, `${called}: ${count} messages`);
    await outcome;
    await sleep(30);
    if (this.#taken.length !== count) throw new Error(`${called}: ${this.#taken.length} messages instead of ${count}`);
    this.entries.push({ called, messages: this.#taken });
  }

  async end() {
    await Promise.all(this.#open.map((client) => client.close().catch(() => {})));
  }
}

// Two servers "A" and "B" with an adapter, and at B one client in "/" and one in "/chat", which answer what is asked.
async function startFleet(makeAdapter, options = {}) {
  const servers = {};
  const clients = [];
  for (const name of ["A", "B"]) {
    const http = createServer();
    await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
    const io = new Server(http, { adapter: await makeAdapter(name), ...options });
    io.of("/chat").on("connection", () => {});
    io.on("server", (...args) => typeof args.at(-1) === "function" && args.at(-1)({ from: name, args: args.length - 1 }));
    io.on("server bytes", (...args) => typeof args.at(-1) === "function" && args.at(-1)(BYTES));
    io.on("server nothing", (...args) => typeof args.at(-1) === "function" && args.at(-1)());
    servers[name] = io;
    if (name === "A") continue;
    for (const namespace of ["/", "/chat"]) {
      const client = connect(`http://127.0.0.1:${http.address().port}${namespace}`, { transports: ["websocket"], forceNew: true });
      client.on("question", (value, answer) => answer(value));
      client.on("question nothing", (answer) => answer());
      await new Promise((resolve) => client.on("connect", resolve));
      clients.push(client);
    }
    for (const socket of io.sockets.sockets.values()) {
      socket.join(["a", "b"]);
      socket.data = { name: "é", count: 3 };
    }
  }
  await sleep(200);
  const uids = {};
  for (const [name, io] of Object.entries(servers)) {
    uids[name] = { "/": io.of("/").adapter.uid, "/chat": io.of("/chat").adapter.uid };
  }
  return {
    ...servers,
    uids,
    sid: clients[0].id,
    end: async () => {
      clients.forEach((client) => client.disconnect());
      await Promise.all(Object.values(servers).map((io) => io.close()));
    },
  };
}

function write(name, fleet, recording, packages) {
  const versions = Object.fromEntries(
    packages.map((one) => [one, JSON.parse(fs.readFileSync(path.join(__dirname, "../../node_modules", one, "package.json"))).version])
  );
  const data = { versions, uids: fleet?.uids, sid: fleet?.sid, entries: recording.entries };
  fs.writeFileSync(path.join(RECORDED, `${name}.json`), JSON.stringify(data, null, 1) + "\n");
  console.log(`${name}: ${recording.entries.length} calls, ${recording.entries.flatMap((entry) => entry.messages).length} messages`);
}

const VALUES = [1, -1, 1.5, 2 ** 40, -(2 ** 40), "é😀", "x".repeat(300), true, false, null, [], {}, [[1], { a: [2] }]];

async function recordBroadcasts(io, recording) {
  await recording.record("broadcast", 1, () => io.emit("hello", "é", 1));
  await recording.record("broadcast of values", 1, () => io.emit("values", ...VALUES));
  await recording.record("broadcast of undefined", 1, () => io.emit("undefined", undefined, { a: undefined, b: 1 }));
  await recording.record("broadcast of a date", 1, () => io.emit("date", MOMENT));
  await recording.record("broadcast of bytes and a date", 1, () => io.emit("date", BYTES, MOMENT, new Date(0), new Date(-1)));
  await recording.record("broadcast of half a surrogate pair", 1, () => io.emit("half", "\ud800"));
  await recording.record("broadcast without arguments", 1, () => io.emit("hello"));
  await recording.record("broadcast to a room", 1, () => io.to("a").emit("hello"));
  await recording.record("broadcast to a room with a hash", 1, () => io.to("a#b*").emit("hello"));
  await recording.record("broadcast to a room that is a number", 1, () => io.to(1).emit("hello"));
  await recording.record("broadcast to rooms", 1, () => io.to("a").to("b").emit("hello"));
  await recording.record("broadcast with except", 1, () => io.except("a").emit("hello"));
  await recording.record("broadcast to a room with except", 1, () => io.to("a").except(["b", "c"]).emit("hello"));
  await recording.record("volatile broadcast", 1, () => io.volatile.emit("hello"));
  await recording.record("compressed broadcast", 1, () => io.compress(true).emit("hello"));
  await recording.record("uncompressed broadcast", 1, () => io.compress(false).emit("hello"));
  if (io.local) await recording.record("local broadcast", 0, () => io.local.emit("hello"));
  await recording.record("broadcast of bytes", 1, () => io.emit("bytes", BYTES, { nested: [BYTES] }));
  await recording.record("broadcast of many bytes", 1, () => io.emit("bytes", Buffer.alloc(300, 7)));
  await recording.record("broadcast of a typed array", 1, () => io.emit("bytes", new Uint8Array(BYTES)));
  await recording.record("broadcast in a namespace", 1, () => io.of("/chat").emit("hello"));
  await recording.record("broadcast to a room in a namespace", 1, () => io.of("/chat").to("a").emit("hello"));
}

async function recordRequests(io, recording) {
  await recording.record("sockets join", 1, () => io.in("a").socketsJoin(["c", "d"]));
  await recording.record("sockets join with except", 1, () => io.in("a").except("b").socketsJoin("c"));
  await recording.record("sockets leave", 1, () => io.in("a").socketsLeave("c"));
  await recording.record("disconnect sockets", 1, () => io.in("nobody").disconnectSockets());
  await recording.record("disconnect sockets and close", 1, () => io.in("nobody").disconnectSockets(true));
  await recording.record("fetch sockets", 2, () => io.in("a").fetchSockets());
  await recording.record("fetch sockets of nobody", 2, () => io.in("nobody").fetchSockets());
  await recording.record("server-side emit", 1, () => io.serverSideEmit("server", "é", { a: [1, null] }));
  await recording.record("server-side emit with ack", 2, () => io.serverSideEmitWithAck("server", 1));
  await recording.record("server-side emit with ack of nothing", 2, () => io.serverSideEmitWithAck("server nothing"));
  // The request, the other server's count, and the answer of its client.
  await recording.record("broadcast with ack", 3, () => io.timeout(1000).emitWithAck("question", { a: 1 }));
  await recording.record("broadcast with ack of bytes", 3, () => io.timeout(1000).emitWithAck("question", BYTES));
  await recording.record("broadcast with ack of nothing", 3, () => io.timeout(1000).emitWithAck("question nothing"));
  await recording.record("broadcast with ack to a room", 3, () =>
    io.to("a").except("c").volatile.timeout(1000).emitWithAck("question", 1)
  );
  await recording.record("broadcast with ack to nobody", 2, () => io.to("nobody").timeout(1000).emitWithAck("question", 1));
}

async function recordClassic(redis) {
  const recording = new Recording(redis);
  const makeAdapter = async (name) => classic.createAdapter(await recording.publisher(name), await recording.client());
  const fleet = await startFleet(makeAdapter);
  await recordBroadcasts(fleet.A, recording);
  await recordRequests(fleet.A, recording);
  await recording.record("all rooms", 2, () => fleet.A.of("/").adapter.allRooms());

  // What older versions sent, and this one answers (socketio.md §3.1).
  const old = await recording.publisher("old");
  const request = (fields) => old.publish("socket.io-request#/#", JSON.stringify(fields));
  await recording.record("legacy sockets", 3, () => request({ requestId: "legacy0", type: 0, rooms: ["a"] }));
  await recording.record("legacy sockets with uid", 3, () => request({ uid: "older", requestId: "legacy1", type: 0, rooms: [] }));
  await recording.record("legacy all rooms", 3, () => request({ requestId: "legacy2", type: 1 }));
  await recording.record("legacy join", 2, () => request({ requestId: "legacy3", type: 2, sid: fleet.sid, room: "c" }));
  await recording.record("legacy leave", 2, () => request({ requestId: "legacy4", type: 3, sid: fleet.sid, room: "c" }));
  await recording.record("legacy join of an unknown socket", 1, () => request({ requestId: "legacy5", type: 2, sid: "nobody", room: "c" }));
  const [socket] = fleet.B.of("/chat").sockets.keys();
  await recording.record("legacy disconnect", 2, () =>
    old.publish("socket.io-request#/chat#", JSON.stringify({ requestId: "legacy6", type: 4, sid: socket, close: false }))
  );
  await recording.record("legacy broadcast without except", 1, () =>
    old.publish("socket.io#/#", notepack.encode(["older", { type: 2, data: ["hello"] }, { rooms: [], flags: {} }]))
  );
  await fleet.end();
  write("classic", fleet, recording, ["socket.io", "socket.io-adapter", "@socket.io/redis-adapter"]);
  await recording.end();
}

async function recordSpecificResponses(redis) {
  const recording = new Recording(redis);
  const makeAdapter = async (name) =>
    classic.createAdapter(await recording.publisher(name), await recording.client(), {
      key: "other",
      publishOnSpecificResponseChannel: true,
    });
  const fleet = await startFleet(makeAdapter);
  await recordRequests(fleet.A, recording);
  await fleet.end();
  write("classic_specific", fleet, recording, ["socket.io", "socket.io-adapter", "@socket.io/redis-adapter"]);
  await recording.end();
}

async function recordSharded(redis) {
  const recording = new Recording(redis);
  const makeAdapter = async (name) => classic.createShardedAdapter(await recording.publisher(name), await recording.client());
  const fleet = await startFleet(makeAdapter);
  await recordBroadcasts(fleet.A, recording);
  await recordRequests(fleet.A, recording);
  await recording.record("server-side emit of bytes", 1, () => fleet.A.serverSideEmit("server", BYTES));
  await recording.record("server-side emit with ack of bytes", 2, () => fleet.A.serverSideEmitWithAck("server bytes", BYTES));
  for (const socket of fleet.B.sockets.sockets.values()) socket.data = { bytes: BYTES };
  await recording.record("fetch sockets with bytes", 2, () => fleet.A.in("a").fetchSockets());
  await fleet.end();
  write("sharded", fleet, recording, ["socket.io", "socket.io-adapter", "@socket.io/redis-adapter"]);
  await recording.end();
}

async function recordStreams(redis) {
  const recording = new Recording(redis);
  const makeAdapter = async (name) => streams.createAdapter(await recording.publisher(name), { channelPrefix: "streams" });
  const fleet = await startFleet(makeAdapter);
  await recordBroadcasts(fleet.A, recording);
  await recordRequests(fleet.A, recording);
  await fleet.end();
  write("streams", fleet, recording, ["socket.io", "socket.io-adapter", "@socket.io/redis-streams-adapter"]);
  await recording.end();
}

// ClusterAdapterWithHeartbeat leaves the bus open; the messages are written as the sharded adapter writes them.
async function recordHeartbeats() {
  const recording = new Recording();
  const everybody = [];
  const encode = (message) => Buffer.from(JSON.stringify(message));
  class Loopback extends ClusterAdapterWithHeartbeat {
    constructor(nsp, from) {
      super(nsp, { heartbeatInterval: 400, heartbeatTimeout: 5000 });
      this.from = from;
      everybody.push(this);
    }
    doPublish(message) {
      recording.add({ from: this.from, command: "loopback", channel: this.nsp.name, payload: encode(message).toString("base64") });
      const copy = JSON.parse(encode(message));
      everybody.forEach((one) => one !== this && setImmediate(() => one.onMessage(copy, "")));
      return Promise.resolve("");
    }
    doPublishResponse(requesterUid, response) {
      return this.doPublish(response);
    }
  }
  const loop = { name: "/", server: { opts: {} }, sockets: new Map(), _onServerSideEmit() {} };
  const first = new Loopback({ ...loop }, "A");
  await recording.record("initial heartbeat", 1, () => first.init());
  const second = new Loopback({ ...loop }, "B");
  await recording.record("initial heartbeat, answered", 2, () => second.init());
  await recording.record("heartbeats", 2, () => {});
  await recording.record("adapter close", 1, () => second.close());
  first.close();
  write("heartbeats", { uids: { A: { "/": first.uid }, B: { "/": second.uid } } }, recording, ["socket.io-adapter"]);
}

async function recordEmitter(redis) {
  const recording = new Recording(redis);
  const emitter = new Emitter(await recording.publisher("emitter"));
  await recordBroadcasts(emitter, recording);
  await recording.record("sockets join", 1, () => emitter.in("a").socketsJoin(["c", "d"]));
  await recording.record("sockets join one", 1, () => emitter.socketsJoin("c"));
  await recording.record("sockets leave", 1, () => emitter.in("a").except("b").socketsLeave("c"));
  await recording.record("disconnect sockets", 1, () => emitter.in("nobody").disconnectSockets());
  await recording.record("disconnect sockets and close", 1, () => emitter.disconnectSockets(true));
  await recording.record("server-side emit", 1, () => emitter.serverSideEmit("server", "é", { a: [1, null] }));
  await recording.record("server-side emit in a namespace", 1, () => emitter.of("chat").serverSideEmit("server"));
  write("emitter", undefined, recording, ["@socket.io/redis-emitter"]);
  await recording.end();
}

async function main() {
  const redis = await startRedis();
  try {
    const all = [recordClassic, recordSpecificResponses, recordSharded, recordStreams, recordHeartbeats, recordEmitter];
    for (const one of all) await one(redis);
  } finally {
    redis.end();
  }
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  }
);

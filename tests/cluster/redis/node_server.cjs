// A Node server with the classic Redis adapter, and clients of it, for the tests of the emitter: a line of JSON for each event that
// one of them gets. Usage: node node_server.cjs REDIS_PORT. It ends when its standard input does.

"use strict";

const { createServer } = require("node:http");

const { createClient } = require("redis");
const { Server } = require("socket.io");
const { io: connect } = require("socket.io-client");
const { createAdapter } = require("@socket.io/redis-adapter");

// Client -> namespace and rooms.
const CLIENTS = {
  ann: ["/", ["a"]],
  bob: ["/", ["a", "b"]],
  cay: ["/chat", ["a"]],
  dan: ["/", ["gone", "gone-trio"]],
  eve: ["/", ["gone", "gone-sync"]],
};

const shown = (value) =>
  Buffer.isBuffer(value)
    ? { bytes: value.toString("base64") }
    : Array.isArray(value)
      ? value.map(shown)
      : value && typeof value === "object"
        ? Object.fromEntries(Object.entries(value).map(([key, one]) => [key, shown(one)]))
        : value;
const print = (who, event, args) => console.log(JSON.stringify([who, event, ...shown(args)]));

async function main() {
  const redis = createClient({ socket: { port: Number(process.argv[2]), host: "127.0.0.1" } });
  const subscriber = redis.duplicate();
  await Promise.all([redis.connect(), subscriber.connect()]);
  const http = createServer();
  const io = new Server(http, { adapter: createAdapter(redis, subscriber) });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  for (const namespace of ["/", "/chat"]) {
    io.of(namespace).on("server", (...args) => print(`server ${namespace}`, "server", args));
  }
  for (const [name, [namespace, rooms]] of Object.entries(CLIENTS)) {
    const joined = new Promise((resolve) => io.of(namespace).once("connection", (socket) => resolve(socket.join(rooms))));
    const client = connect(`http://127.0.0.1:${http.address().port}${namespace}`, { transports: ["websocket"], forceNew: true });
    client.onAny((event, ...args) => print(name, event, args));
    client.on("disconnect", (reason) => print(name, "disconnect", [reason]));
    await joined;
  }
  // Subscriptions are made in order, so once the last one is there, all are.
  while (Number((await redis.sendCommand(["PUBSUB", "NUMSUB", "socket.io-response#/chat#"]))[1]) === 0) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  console.log(JSON.stringify(["ready"]));
  process.stdin.resume().on("end", () => process.exit(0));
}

main();

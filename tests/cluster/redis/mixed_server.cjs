// Node servers with the classic Redis adapter, and official clients of them, for the tests of a mixed fleet. Usage: node
// mixed_server.cjs REDIS_PORT. Each line of its standard input is [number, command, {arguments}], and is answered with
// {"number", "value"} or {"number", "error"}; between the answers comes {"who", "event", "args"} for what a client or a server hears.
// It ends when its standard input does.

"use strict";

const { createServer } = require("node:http");
const { createInterface } = require("node:readline");

const { createClient } = require("redis");
const { Server } = require("socket.io");
const { io: connect } = require("socket.io-client");
const { createAdapter } = require("@socket.io/redis-adapter");
const { Emitter } = require("@socket.io/redis-emitter");

const redis = createClient({ socket: { port: Number(process.argv[2]), host: "127.0.0.1" } });
const subscriber = redis.duplicate();

// Bytes are {"bytes": base64} in both directions.
const shown = (value) =>
  Buffer.isBuffer(value)
    ? { bytes: value.toString("base64") }
    : Array.isArray(value)
      ? value.map(shown)
      : value && typeof value === "object"
        ? Object.fromEntries(Object.entries(value).map(([key, one]) => [key, shown(one)]))
        : value;
const revived = (value) =>
  Array.isArray(value)
    ? value.map(revived)
    : value && typeof value === "object"
      ? typeof value.bytes === "string"
        ? Buffer.from(value.bytes, "base64")
        : Object.fromEntries(Object.entries(value).map(([key, one]) => [key, revived(one)]))
      : value;
const print = (line) => console.log(JSON.stringify(line));
const hears = (who) => (event, ...args) => print({ who, event, args: shown(args) });

let io, http, clients, key;

// To whom: an operator of the server, or of the emitter, which lacks some of it.
const operator = ({ namespace = "/", rooms = [], except = [], volatile = false, compress, timeout, emitter = false }) => {
  let to = emitter ? new Emitter(redis, { key }).of(namespace) : io.of(namespace);
  if (rooms.length) to = to.to(rooms);
  if (except.length) to = to.except(except);
  if (volatile) to = to.volatile;
  if (compress !== undefined) to = to.compress(compress);
  if (timeout !== undefined) to = to.timeout(timeout);
  return to;
};
const described = ({ id, handshake, rooms, data }) => ({ id, handshake, rooms: [...rooms].sort(), data });
const remote = async (target) => {
  const sockets = await operator(target).fetchSockets();
  if (sockets.length !== 1) throw new Error(`${sockets.length} sockets are meant`);
  return sockets[0];
};

const COMMANDS = {
  // One server, until `close`. Its namespaces answer "count", and leave "ignore" without an answer.
  async open(options) {
    key = options.key;
    clients = {};
    http = createServer();
    io = new Server(http, {
      adapter: createAdapter(redis, subscriber, { key, publishOnSpecificResponseChannel: options.specific, requestsTimeout: options.patience }),
    });
    await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
    for (const name of ["/", "/chat"]) {
      const namespace = io.of(name);
      const hear = hears(`server ${name}`);
      namespace.on("hello", (...args) => hear("hello", ...args));
      namespace.on("count", (more, answer) => answer({ node: more }));
      namespace.on("ignore", () => {});
    }
    // Subscriptions are made in order, so once the last one is there, all are.
    while (Number((await redis.sendCommand(["PUBSUB", "NUMSUB", `${key}-response#/chat#${io.of("/chat").adapter.uid}#`]))[1]) === 0) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  },
  async close() {
    for (const client of Object.values(clients)) client.disconnect();
    await io.close();
  },
  // A client answers "question", and leaves "ignore" without an answer; everything else is printed.
  async client({ name, namespace = "/", rooms = [], auth = {}, data = {} }) {
    const joined = new Promise((resolve) =>
      io.of(namespace).once("connection", (socket) => {
        Object.assign(socket.data, data);
        resolve(socket.join(rooms));
      }),
    );
    const client = connect(`http://127.0.0.1:${http.address().port}${namespace}`, { transports: ["websocket"], forceNew: true, auth });
    clients[name] = client;
    const hear = hears(name);
    client.onAny((event, ...args) => {
      if (typeof args.at(-1) !== "function") hear(event, ...args);
    });
    client.on("question", (...args) => args.pop()({ [name]: args[0] }));
    client.on("disconnect", (reason) => hear("disconnect", reason));
    await Promise.all([joined, new Promise((resolve) => client.once("connect", resolve))]);
    return client.id;
  },
  async rooms({ name, namespace = "/" }) {
    return [...io.of(namespace).sockets.get(clients[name].id).rooms].sort();
  },
  async emit({ event, ...target }) {
    operator(target).emit(...event);
  },
  async ask({ event, ...target }) {
    return new Promise((resolve) => {
      operator(target).emit(...event, (error, responses) => resolve({ error: error && error.message, responses: shown(responses) }));
    });
  },
  async fetch(target) {
    return (await operator(target).fetchSockets()).map(described);
  },
  async join({ names, ...target }) {
    operator(target).socketsJoin(names);
  },
  async leave({ names, ...target }) {
    operator(target).socketsLeave(names);
  },
  async disconnect({ close, ...target }) {
    operator(target).disconnectSockets(close);
  },
  async say({ event, ...target }) {
    operator(target).serverSideEmit(...event);
  },
  async confer({ event, namespace = "/" }) {
    return new Promise((resolve) => {
      io.of(namespace).serverSideEmit(...event, (error, responses) => resolve({ error: error && error.message, responses: shown(responses) }));
    });
  },
  async allRooms({ namespace = "/" }) {
    return [...(await io.of(namespace).adapter.allRooms())].sort();
  },
  // The one socket that is meant, wherever it is.
  async remoteEmit({ event, ...target }) {
    (await remote(target)).emit(...event);
  },
  async remoteAsk({ event, ...target }) {
    return shown(await (await remote(target)).timeout(5000).emitWithAck(...event));
  },
  async remoteMove({ join, leave, ...target }) {
    const socket = await remote(target);
    socket.join(join);
    socket.leave(leave);
  },
  async remoteDisconnect({ close, ...target }) {
    (await remote(target)).disconnect(close);
  },
};

async function main() {
  await Promise.all([redis.connect(), subscriber.connect()]);
  const lines = createInterface({ input: process.stdin });
  lines.on("line", async (line) => {
    const [number, command, args] = JSON.parse(line);
    try {
      print({ number, value: (await COMMANDS[command](revived(args))) ?? null });
    } catch (error) {
      print({ number, error: error.stack });
    }
  });
  lines.on("close", () => process.exit(0));
}

main();

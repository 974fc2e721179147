"use strict";

// node server.cjs
//
// The application of application.py on the official server. Prints its ports: the first speaks JSON, the second msgpack.

const { createServer } = require("node:http");
const { setTimeout: sleep } = require("node:timers/promises");
const { Server } = require("socket.io");

function serve(options) {
  const http = createServer();
  const io = new Server(http, {
    connectionStateRecovery: { skipMiddlewares: false },
    pingInterval: 300,
    pingTimeout: 2_000,
    ...options,
  });
  const notes = new Map();
  const calls = new Map();
  const ends = new Map();

  async function ended(label) {
    while (!ends.has(label)) await sleep(5);
    return ends.get(label);
  }

  function joined(socket) {
    const { label } = socket.handshake.auth;
    if (label !== undefined) {
      socket.join(`label:${label}`);
      ends.delete(label);
      socket.on("disconnect", (reason) => ends.set(label, reason));
    }
    socket.on("echo", (...args) => args.pop()(...args));
    socket.on("connection_id", (ack) => ack(socket.conn.id));
  }

  io.on("connection", (socket) => {
    joined(socket);
    if (!socket.recovered) socket.emit("welcome", socket.handshake.auth);
    // Listeners do not hear of what DISCONNECT follows at once; middleware does.
    socket.use(([event, key, value], next) => {
      if (event === "note") notes.set(key, [...(notes.get(key) ?? []), value]);
      next();
    });
    socket.on("auth", (ack) => ack(socket.handshake.auth));
    socket.on("say", (...args) => socket.emit("said", ...args));
    socket.on("ask", async (...args) => {
      const ack = args.pop();
      ack(await socket.timeout(5_000).emitWithAck("question", ...args));
    });
    socket.on("burst", (count) => {
      for (let number = 0; number < count; number++) socket.emit("tick", number);
    });
    socket.on("join", (room, ack) => {
      socket.join(room);
      ack();
    });
    socket.on("shout", (room, text) => io.to(room).emit("shouted", text));
    socket.on("tell", (label, number, ack) => {
      io.to(`label:${label}`).emit("told", number);
      ack();
    });
    socket.on("notes", (key, ack) => ack(notes.get(key) ?? []));
    socket.on("flaky", (key, ack) => {
      calls.set(key, (calls.get(key) ?? 0) + 1);
      if (calls.get(key) > 1) ack(calls.get(key));
    });
    socket.on("never", () => {});
    socket.on("ended", async (label, ack) => ack(await ended(label)));
    socket.on("send me away", () => socket.disconnect());
  });

  io.of("/chat").on("connection", joined);

  io.of("/private").use((socket, next) => {
    if (socket.handshake.auth.token === "secret") return next();
    const error = new Error("bad token");
    error.data = { code: 4001 };
    return next(error);
  });
  io.of("/private").on("connection", joined);

  return new Promise((resolve) => {
    http.listen(0, "127.0.0.1", () => resolve(http.address().port));
  });
}

async function main() {
  console.log(await serve({}));
  console.log(await serve({ parser: require("socket.io-msgpack-parser") }));
}

main();

"use strict";

// What one scenario holds: its connections, which all use the transports of this run, and a view of what the server saw.

const { io } = require("socket.io-client");

const TRANSPORTS = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] };

const PARSERS = { json: "socket.io-parser", msgpack: "socket.io-msgpack-parser" };

class Scene {
  constructor(url, mode, parser, label) {
    this.url = url;
    this.mode = mode;
    this.parser = parser;
    this.label = label;
    this.sockets = [];
  }

  // A socket with a connection of its own. The label tells the application in whose journal to write; `auth: null` is no auth at all.
  open(namespace = "/", { auth = {}, ...options } = {}) {
    const socket = io(this.url + namespace, {
      transports: TRANSPORTS[this.mode],
      parser: require(PARSERS[this.parser]),
      forceNew: true,
      reconnection: false,
      auth: auth !== null && typeof auth === "object" ? { label: this.label, ...auth } : auth,
      ...options,
    });
    this.sockets.push(socket);
    return socket;
  }

  // Another namespace over the connection of `socket`.
  share(socket, namespace, auth = {}) {
    const known = socket.io.nsps[namespace];
    if (known) known.auth = { label: this.label, ...auth };
    const other = socket.io.socket(namespace, { auth: { label: this.label, ...auth } });
    this.sockets.push(other);
    return other;
  }

  async connect(namespace, options) {
    return this.joined(this.open(namespace, options));
  }

  async joined(socket) {
    if (!socket.connected) {
      await new Promise((resolve, reject) => {
        socket.once("connect", resolve);
        socket.once("connect_error", (error) => reject(new Error(`${socket.nsp} was refused: ${error.message}`)));
      });
    }
    return socket;
  }

  // For scenarios whose outcome depends on the transport: go on when the connection has reached its last one.
  async settled(socket) {
    const { engine } = socket.io;
    if (this.mode === "upgrade" && engine.transport.name === "polling") {
      await new Promise((resolve) => engine.once("upgrade", resolve));
    }
    return socket;
  }

  next(socket, event) {
    return new Promise((resolve) => socket.once(event, (...args) => resolve(args)));
  }

  // The arguments of the acknowledgement, all of them (`emitWithAck` keeps the first one only).
  acked(socket, event, ...args) {
    return new Promise((resolve) => socket.emit(event, ...args, (...answer) => resolve(answer)));
  }

  // What the application wrote into this scenario's journal, as soon as there are `count` lines.
  async journal(count) {
    const observer = await this.connect("/observer");
    return observer.emitWithAck("journal", this.label, count);
  }

  close() {
    for (const socket of this.sockets) {
      socket.disconnect();
      socket.io.engine.close();
    }
  }
}

module.exports = { Scene };

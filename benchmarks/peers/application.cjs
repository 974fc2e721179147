// The benchmark's application, for Node's server and for Bun's.

"use strict";

const isTyped = (data) =>
  typeof data === "object" &&
  data !== null &&
  Number.isInteger(data.id) &&
  typeof data.text === "string" &&
  Array.isArray(data.tags) &&
  data.tags.every((tag) => typeof tag === "string");

// `middleware`: what runs before every event. Only the column about it has any, as in trio_sio_server.py.
module.exports = (io, middleware) => {
  io.on("connection", (socket) => {
    if (middleware) {
      socket.use(([event], next) => next(event ? undefined : new Error("no event")));
      socket.use(([, data], next) => next(data === undefined ? new Error("no argument") : undefined));
    }
    socket.on("echo", (data, ack) => ack(data));
    socket.on("typed", (data, ack) => ack(isTyped(data) ? data.id : { status: "error" }));
    socket.on("broadcast", (data) => io.emit("msg", data));
    socket.on("join", (rooms, ack) => {
      socket.join(rooms);
      ack();
    });
    socket.on("shout", (data) => io.to("lobby").emit("msg", data));
  });
};

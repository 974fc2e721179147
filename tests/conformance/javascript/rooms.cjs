"use strict";

// Three clients hear what is said. A "fence" goes to everybody after each step, so that silence can be told from delay.

async function hall(t) {
  const sockets = { a: await t.connect("/rooms"), b: await t.connect("/rooms"), c: await t.connect("/rooms") };
  const heard = [];
  for (const [name, socket] of Object.entries(sockets)) {
    socket.on("said", (...words) => heard.push([name, ...words]));
  }
  const say = async (name, how, rooms = [], excluded = [], word = "hello") => {
    const present = Object.values(sockets).filter((socket) => socket.connected);
    const fences = Promise.all(present.map((socket) => t.next(socket, "fence")));
    sockets[name].emit("say", how, rooms, excluded, word);
    sockets[name].emit("fence");
    await fences;
    return heard.splice(0).sort((one, other) => one[0].localeCompare(other[0]));
  };
  const names = async (...args) => (await say(...args)).map(([name]) => name).join("");
  return { sockets, say, names };
}

module.exports = {
  async join_and_leave(t) {
    const { sockets } = await hall(t);
    const { a } = sockets;
    const rooms = async (...step) => (await a.emitWithAck(...step)).map((room) => (room === a.id ? "own id" : room)).sort();
    return [
      await rooms("join"),
      await rooms("join", "red"),
      await rooms("join", "red", "blue", "漢字"),
      await rooms("leave", "red"),
      await rooms("leave", "nowhere"),
    ];
  },

  async who_hears_what(t) {
    const { sockets, names } = await hall(t);
    await sockets.a.emitWithAck("join", "red");
    await sockets.b.emitWithAck("join", "red", "blue");
    await sockets.c.emitWithAck("join", "blue");
    const seen = {
      "socket.to red": await names("a", "socket.to", ["red"]),
      "socket.to red, by an outsider": await names("c", "socket.to", ["red"]),
      "socket.to red and blue": await names("a", "socket.to", ["red", "blue"]),
      "socket.to red except blue": await names("a", "socket.to", ["red"], ["blue"]),
      "socket.to an id": await names("a", "socket.to", [sockets.c.id]),
      "socket.to nobody": await names("a", "socket.to", ["green"]),
      "socket.broadcast": await names("a", "socket.broadcast"),
      "socket.broadcast except blue": await names("c", "socket.broadcast", [], ["blue"]),
      "namespace.in red": await names("a", "namespace.in", ["red"]),
      "namespace.in red and blue": await names("a", "namespace.in", ["red", "blue"]),
      "namespace.emit": await names("a", "namespace.emit"),
      "namespace.except blue": await names("a", "namespace.except", [], ["blue"]),
      "server.of": await names("a", "server.of", ["red"]),
      "server.in means the main namespace": await names("a", "server.in", ["red"]),
      "local": await names("a", "local", ["red"]),
    };
    await sockets.c.emitWithAck("leave", "blue");
    seen["after c left blue"] = await names("a", "namespace.in", ["blue"]);
    sockets.b.disconnect();
    await t.journal(1);
    seen["after b was disconnected"] = await names("a", "namespace.in", ["red", "blue"]);
    return seen;
  },

  async binary_broadcast(t) {
    const { say } = await hall(t);
    return say("a", "namespace.emit", [], [], { deep: [Buffer.from([1]), Buffer.alloc(0)] });
  },
};

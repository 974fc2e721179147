"use strict";

// For a server that pings often.

module.exports = {
  async pings(t) {
    const socket = await t.settled(await t.connect("/"));
    const firstId = socket.id;
    for (let ping = 0; ping < 5; ping++) await t.next(socket.io, "ping");
    const alive = await socket.emitWithAck("echo", "alive");
    return { alive, sameConnection: socket.id === firstId };
  },
};

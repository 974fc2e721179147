"use strict";

// For a server with another parser: the connection opens, the first packet ends it.

module.exports = {
  async another_parser(t) {
    const socket = t.open("/");
    let connected = false;
    socket.once("connect", () => (connected = true));
    const [reason] = await t.next(socket.io, "close");
    return { connected, reason };
  },
};

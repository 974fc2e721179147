"use strict";

// For a server that sets a cookie and compresses.

const { Fetch } = require("engine.io-client");

module.exports = {
  async sends_the_cookie_back(t) {
    const socket = await t.settled(await t.connect("/", { withCredentials: true }));
    return { sid: socket.io.engine.id, alive: await socket.emitWithAck("echo", "alive") };
  },

  // The transport over fetch() takes compressed responses; the other one does not ask for them.
  async takes_compressed_polls(t) {
    const codings = [];
    const { fetch } = globalThis;
    globalThis.fetch = async (...args) => {
      const response = await fetch(...args);
      codings.push(response.headers.get("content-encoding"));
      return response;
    };
    const socket = await t.connect("/", { transports: [Fetch] });
    const large = "Ünïcödé ".repeat(20_000);
    const answers = [await socket.emitWithAck("echo", "small"), (await socket.emitWithAck("echo", large)) === large];
    globalThis.fetch = fetch;
    return { answers, codings: [...new Set(codings)] };
  },
};

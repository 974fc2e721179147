"use strict";

// For a server that can compress what a WebSocket carries.

const { randomBytes } = require("node:crypto");

const WORDS = "It was the best of times, it was the worst of times. ".repeat(1_000);

// What `step` took on the wire, in and out, headers of frames included.
async function traffic(socket, step) {
  const wire = socket.io.engine.transport.ws._socket;
  const { bytesRead, bytesWritten } = wire;
  const result = await step();
  return { result, read: wire.bytesRead - bytesRead, written: wire.bytesWritten - bytesWritten };
}

async function client(t, options) {
  const socket = await t.settled(await t.connect("/", options));
  const mirror = (value) =>
    traffic(socket, async () => {
      const reply = t.next(socket, "mirrored");
      socket.emit("mirror", value);
      return (await reply)[0];
    });
  return { socket, mirror };
}

module.exports = {
  async what_is_compressed(t) {
    const { socket, mirror } = await client(t, { perMessageDeflate: { threshold: 0 } });
    const words = await mirror(WORDS);
    const bytes = await mirror(Buffer.from(WORDS));
    const noise = await mirror(randomBytes(200_000));
    const short = [];
    for (const text of ["", "a", "é", "x".repeat(1_023)]) short.push((await mirror(text)).result);
    const again = await mirror(WORDS);
    const few = WORDS.length / 20;
    return {
      extensions: socket.io.engine.transport.ws.extensions,
      words: [words.result === WORDS, words.read < few, words.written < few],
      bytes: [bytes.result.toString() === WORDS, bytes.read < few, bytes.written < few],
      noise: noise.result.length,
      short,
      again: [again.result === WORDS, again.read < few, again.written < few],
    };
  },

  async what_a_client_declines(t) {
    const { socket, mirror } = await client(t, { perMessageDeflate: false });
    const words = await mirror(WORDS);
    return {
      extensions: socket.io.engine.transport.ws.extensions,
      words: [words.result === WORDS, words.read > WORDS.length, words.written > WORDS.length],
    };
  },

  async what_is_for_many_goes_out_as_it_is(t) {
    const { socket } = await client(t, { perMessageDeflate: { threshold: 0 } });
    const said = t.next(t.share(socket, "/rooms"), "said");
    const { result, read } = await traffic(socket, async () => {
      t.sockets.at(-1).emit("say", "namespace.emit", [], [], WORDS);
      return (await said)[0];
    });
    return [result === WORDS, read > WORDS.length];
  },
};

"use strict";

// With `retries` the client sends one packet at a time, again and again until it is acknowledged; for a server whose handlers leave
// acknowledgements out.

module.exports = {
  async retried_until_acknowledged(t) {
    const socket = await t.joined(t.open("/", { retries: 3, ackTimeout: 400 }));
    const [first, second] = await Promise.all([socket.emitWithAck("book", "one", 2), socket.emitWithAck("book", "two", 0)]);
    return { first, second, seen: await socket.emitWithAck("seen") };
  },

  async given_up_after_the_last_retry(t) {
    const socket = await t.joined(t.open("/", { retries: 2, ackTimeout: 400 }));
    const error = await socket.emitWithAck("book", "three", 9).catch((failure) => failure.message);
    return { error, seen: await socket.emitWithAck("seen") };
  },
};

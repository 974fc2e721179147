// Usage: node behind_proxy.cjs URL MODE COUNT ADDRESS
//
// COUNT official clients, one after the other, from the local ADDRESS: where do their requests arrive? One line of JSON per client.

"use strict";

const http = require("node:http");
const { io } = require("socket.io-client");

const TRANSPORTS = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] };
const EVENTS = 6;

const [url, mode, count, localAddress] = process.argv.slice(2);

const settled = (emitter, good, bad) => {
  const promise = new Promise((resolve, reject) => {
    emitter.once(good, resolve);
    emitter.once(bad, (reason) => reject(new Error(`${bad}: ${reason.message ?? reason}`)));
  });
  promise.catch(() => {}); // it may be awaited later, or never
  return promise;
};

async function visit() {
  const agent = new http.Agent({ localAddress, keepAlive: true });
  const socket = io(url, {
    transports: TRANSPORTS[mode],
    agent,
    forceNew: true,
    reconnection: false,
    timeout: 10_000,
    extraHeaders: { "X-Forwarded-For": "192.0.2.66" }, // which nobody should believe
  });
  try {
    const upgraded = mode === "upgrade" && settled(socket.io.engine, "upgrade", "close");
    await settled(socket, "connect", "connect_error");
    const answers = [];
    for (let number = 0; number < EVENTS; number++) {
      if (number === EVENTS / 2) {
        await upgraded;
      }
      answers.push(await socket.timeout(10_000).emitWithAck("where"));
    }
    return { answers, transport: socket.io.engine.transport.name, sid: socket.io.engine.id };
  } catch (error) {
    return { error: String(error) };
  } finally {
    const closed = socket.io.engine.readyState === "closed" || new Promise((resolve) => socket.io.engine.once("close", resolve));
    socket.close();
    await closed;
    agent.destroy();
  }
}

(async () => {
  for (let number = 0; number < Number(count); number++) {
    console.log(JSON.stringify(await visit()));
  }
  process.exit();
})();

// Usage: node secure.cjs URL COUNT
//
// COUNT official clients at once, by TLS: in which worker is each, and what do they hear of each other? One line of JSON.

"use strict";

const { io } = require("socket.io-client");

const [url, count] = process.argv.slice(2);

(async () => {
  const sockets = Array.from({ length: Number(count) }, () => io(url, { transports: ["websocket"], forceNew: true, reconnection: false }));
  await Promise.all(sockets.map((socket) => new Promise((resolve, reject) => socket.once("connect", resolve).once("connect_error", reject))));
  const heard = Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once("said", (...args) => resolve(args)))));
  const workers = [];
  for (const socket of sockets) {
    workers.push(await socket.timeout(10_000).emitWithAck("who"));
  }
  sockets[0].emit("say", "to all", Buffer.from([1, 2]));
  console.log(JSON.stringify({ workers, heard: (await heard).map(([text, data]) => [text, [...data]]) }));
  sockets.forEach((socket) => socket.close());
})();

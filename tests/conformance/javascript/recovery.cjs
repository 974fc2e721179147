"use strict";

// node recovery.cjs URL polling|websocket|upgrade CLIENTS
//
// Clients that check the numbers of what they hear, come back whenever they lose the connection, and report when they are asked.

const { io } = require("socket.io-client");

const TRANSPORTS = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] };

function watch(url, transports, name) {
  const socket = io(url, {
    transports,
    auth: { name },
    forceNew: true,
    reconnectionDelay: 1,
    reconnectionDelayMax: 20,
    timeout: 2_000,
  });
  const seen = { name, fresh: 0, recovered: 0, wrong: [] };
  let next = null;

  // Whoever is not recovered is told where the numbers are, before anything else; a series that is not mentioned begins anywhere.
  socket.on("connect", () => {
    if (socket.recovered) {
      seen.recovered += 1;
      socket.emit("came back");
    } else {
      seen.fresh += 1;
      next = null;
    }
  });
  socket.on("welcome", (numbers) => {
    if (next !== null) seen.wrong.push("a second welcome");
    next = numbers;
  });
  socket.on("number", (series, number) => {
    if (next === null || (series in next && next[series] !== number)) {
      seen.wrong.push(`${series} ${number} instead of ${next === null ? "the welcome" : next[series]}`);
    }
    if (next !== null) next[series] = number + 1;
  });
  socket.on("report", (answer) => answer({ ...seen, next }));
}

const [url, mode, count] = process.argv.slice(2);
for (let number = 0; number < Number(count); number++) watch(url, TRANSPORTS[mode], number);

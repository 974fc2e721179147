"use strict";

async function pair(t) {
  const main = await t.settled(await t.connect("/"));
  const rooms = await t.joined(t.share(main, "/rooms"));
  return { main, rooms };
}

// Asked before anything ends, because an end may follow at once.
function endOf(t, socket) {
  return t.next(socket, "disconnect").then(([reason]) => reason);
}

module.exports = {
  async client_disconnects(t) {
    const { main, rooms } = await pair(t);
    const ended = endOf(t, main);
    main.disconnect();
    return { reason: await ended, active: main.active, journal: await t.journal(1), other: await rooms.emitWithAck("join", "red") !== null };
  },

  async client_closes_the_connection(t) {
    const { main, rooms } = await pair(t);
    const ended = Promise.all([endOf(t, main), endOf(t, rooms)]);
    main.io.engine.close();
    return { reasons: await ended, journal: await t.journal(2) };
  },

  async last_words_are_heard(t) {
    const main = await t.settled(await t.connect("/"));
    for (let number = 0; number < 50; number++) main.emit("note", number);
    main.disconnect();
    return t.journal(51);
  },

  async server_disconnects(t) {
    const { main, rooms } = await pair(t);
    const order = [];
    main.once("goodbye", () => order.push("goodbye"));
    const ended = endOf(t, main).then((reason) => order.push(reason));
    main.emit("leave me", false);
    await ended;
    return { order, active: main.active, journal: await t.journal(1), other: await rooms.emitWithAck("join", "red") !== null };
  },

  async server_disconnects_and_comes_back(t) {
    const { main } = await pair(t);
    const firstId = main.id;
    const ended = endOf(t, main);
    main.emit("leave me", false);
    await ended;
    main.connect();
    await t.joined(main);
    return { newId: main.id !== firstId, alive: await main.emitWithAck("echo", "alive") };
  },

  async server_closes_the_connection(t) {
    const { main, rooms } = await pair(t);
    const engineClosed = t.next(main.io.engine, "close");
    const heard = [];
    main.once("goodbye", () => heard.push("goodbye"));
    const ended = Promise.all([endOf(t, main), endOf(t, rooms)]);
    main.emit("leave me", true);
    const reasons = await ended;
    await engineClosed;
    return { heard, reasons, active: [main.active, rooms.active], journal: await t.journal(2) };
  },

  async hook_fails(t) {
    const socket = t.open("/broken");
    const order = [];
    socket.once("connect", () => order.push("connect"));
    const [reason] = await t.next(socket, "disconnect");
    return { order, reason, journal: await t.journal(1) };
  },
};

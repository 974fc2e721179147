"use strict";

module.exports = {
  async connect(t) {
    const socket = t.open("/", { auth: null });
    const handshake = t.next(socket.io.engine, "handshake");
    await t.joined(socket);
    const { sid, ...offer } = (await handshake)[0];
    const seen = await socket.emitWithAck("who");
    return {
      offer,
      ids: [sid.length, socket.id.length],
      distinct: sid !== socket.id,
      same: seen.id === socket.id,
      recovered: socket.recovered,
      seen: { ...seen, id: null },
    };
  },

  // Numbers go both ways, with and without acknowledgement, while the transport changes under them.
  async transport(t) {
    const socket = t.open("/");
    const trail = [];
    socket.io.engine.once("open", () => trail.push(socket.io.engine.transport.name));
    socket.io.engine.on("upgrade", (transport) => trail.push(transport.name));
    await t.joined(socket);

    const mirrored = [];
    socket.on("mirrored", (number) => mirrored.push(number));
    const acked = [];
    let settled = false;
    t.settled(socket).then(() => (settled = true));
    let inStep = true;
    let sent = 0;
    let more = 20;
    while (more > 0) {
      socket.emit("mirror", sent);
      acked.push(await socket.emitWithAck("echo", sent));
      inStep &&= mirrored.at(-1) === sent;
      sent += 1;
      if (settled) more -= 1;
    }
    const expected = JSON.stringify([...Array(sent).keys()]);
    return { trail, acked: JSON.stringify(acked) === expected, mirrored: JSON.stringify(mirrored) === expected, inStep };
  },

  async handshake(t) {
    const options = { query: { room: "blue & é", empty: "" }, extraHeaders: { "X-Colour": "blue" } };
    const given = await t.connect("/guarded", { auth: { token: "secret", user: { name: "Ada", tags: [1, null] } }, ...options });
    const made = await t.connect("/guarded", { auth: (send) => send({ token: "secret", made: true }) });
    const inUrl = await t.connect("/guarded?room=red", { auth: { token: "secret" } });
    const { auth, query, colour } = await given.emitWithAck("who");
    return {
      auth,
      query: { room: query.room, empty: query.empty, EIO: query.EIO },
      colour,
      made: (await made.emitWithAck("who")).auth,
      inUrl: (await inUrl.emitWithAck("who")).query.room,
    };
  },

  async refusals(t) {
    const main = await t.connect("/");
    const outcomes = {};
    for (const token of ["wrong", "crash", "forget"]) {
      const socket = t.share(main, "/guarded", { token });
      let joined = false;
      socket.once("connect", () => (joined = true));
      const [error] = await t.next(socket, "connect_error");
      // Whatever else the server might send to the refused socket comes before this answer.
      await main.emitWithAck("echo");
      outcomes[token] = { message: error.message, data: error.data, active: socket.active, joined };
    }

    const engine = main.io.engine;
    const retry = t.share(main, "/guarded", { token: "wrong" });
    await t.next(retry, "connect_error");
    retry.auth = { label: t.label, token: "secret" };
    retry.connect();
    await t.joined(retry);
    return { outcomes, retried: retry.connected, sameConnection: main.io.engine === engine, main: await main.emitWithAck("echo", "alive") };
  },

  async unknown_namespace(t) {
    const main = await t.connect("/");
    const outcomes = {};
    for (const namespace of ["/nowhere", "/room-x", "/a/room-7"]) {
      const [error] = await t.next(t.share(main, namespace), "connect_error");
      outcomes[namespace] = { message: error.message, data: error.data };
    }
    return { outcomes, main: await main.emitWithAck("echo", "alive") };
  },

  async pattern_namespace(t) {
    const seven = await t.connect("/room-7");
    const neighbour = await t.connect("/room-7");
    const eight = t.share(seven, "/room-8");
    await t.joined(eight);
    const heard = [];
    for (const [name, socket] of Object.entries({ seven, neighbour, eight })) {
      socket.on("said", (text) => heard.push([name, text]));
    }
    await eight.emitWithAck("say", "from eight");
    await seven.emitWithAck("say", "from seven");
    await neighbour.emitWithAck("say", "from the neighbour");
    return { params: [await seven.emitWithAck("params"), await eight.emitWithAck("params")], heard: heard.sort() };
  },

  async several_namespaces(t) {
    const main = await t.connect("/");
    const rooms = await t.joined(t.share(main, "/rooms"));
    const seven = await t.joined(t.share(main, "/room-7"));
    const ids = new Set([main.id, rooms.id, seven.id]);
    const firstId = rooms.id;

    const left = t.next(rooms, "disconnect");
    rooms.disconnect();
    const [reason] = await left;
    const journal = await t.journal(1);
    const others = [await main.emitWithAck("echo", "alive"), await seven.emitWithAck("params")];

    rooms.connect();
    await t.joined(rooms);
    return { ids: ids.size, reason, journal, others, again: rooms.connected, newId: rooms.id !== firstId, oneConnection: main.io === rooms.io };
  },

  // The application emits before it lets the client in; the client must hear that afterwards.
  async emits_from_middleware_and_hook(t) {
    const socket = t.open("/guarded", { auth: { token: "early" } });
    const packets = [];
    socket.io.on("packet", ({ type, data }) => packets.push([type, type === 2 ? data : null]));
    const order = [];
    for (const event of ["connect", "early", "welcome"]) socket.once(event, () => order.push(event));
    await t.next(socket, "welcome");
    return { packets, order };
  },

  // The connection hook waits for "go", which is the third message that the client sends in its "connect" callback.
  async messages_before_the_hook_ends(t) {
    const socket = t.open("/patient");
    const trace = new Promise((resolve, reject) => {
      socket.once("connect", () => {
        socket.emit("note", 1);
        socket.emit("note", 2);
        socket.emit("go");
        socket.emit("note", 3);
        socket.emitWithAck("trace").then(resolve, reject);
      });
    });
    return trace;
  },
};

"use strict";

// What Midway's documentation shows and what its users asked for, one scenario for each point of the list in ../test_midway.py.

const RESULTS = ["none", "zero", "empty text", "false", "text", "object", "list", "list in a list", "empty list", "tuple", "empty tuple"];

const FORMS = [
  "ctx.emit",
  "ctx.broadcast.emit",
  'ctx.to("game").emit',
  'ctx.to("a").to("b").emit',
  'app.in("game").emit',
  "ctx.nsp.emit",
  'app.of(ns).to("game").emit',
  "app.local.emit",
];

// A client of /table and its neighbour. `call` returns what was heard, and how it was acknowledged, up to a fence.
async function table(t) {
  const socket = await t.connect("/table");
  const neighbour = await t.connect("/table");
  const heard = [];
  socket.onAny((...packet) => heard.push(packet));
  neighbour.onAny((...packet) => heard.push(["neighbour", ...packet]));
  const play = async (acked, ...packet) => {
    const answers = [];
    socket.emit(...packet, ...(acked ? [(...answer) => answers.push(answer)] : []));
    await socket.emitWithAck("fence");
    await neighbour.emitWithAck("fence");
    // Between two connections there is no order.
    const sorted = heard.splice(0).sort((one, other) => (one[0] === "neighbour") - (other[0] === "neighbour"));
    return acked ? { heard: sorted, answers } : sorted;
  };
  const call = async (...packet) => ({ plain: await play(false, ...packet), acked: await play(true, ...packet) });
  return { socket, neighbour, call };
}

async function outcome(socket) {
  return new Promise((resolve) => {
    socket.once("connect", () => resolve("connected"));
    socket.once("connect_error", ({ message, data }) => resolve({ message, data }));
  });
}

module.exports = {
  async results(t) {
    const { socket, neighbour, call } = await table(t);
    const results = {};
    for (const what of RESULTS) results[what] = await call("give", what);
    results["by another name"] = await call("give by another name", "text");
    results["without emits"] = await call("give without emits", "text");
    for (const event of ["throw", "ack by hand", "to the room", "twice", "room and all", "broadcast to the room"]) {
      results[event] = await call(event);
    }
    const left = t.next(neighbour, "left");
    socket.disconnect();
    results.left = await left;
    return results;
  },

  async order(t) {
    const socket = await t.connect("/order");
    return { answer: await socket.emitWithAck("do"), journal: await t.journal(14) };
  },

  async forgetful(t) {
    const socket = await t.connect("/forgetful");
    const heard = [];
    socket.onAny((...packet) => heard.push(packet));
    const answer = await t.acked(socket, "ask");
    socket.emit("ask");
    return { answer, kept: await socket.emitWithAck("remember"), heard };
  },

  async refusal(t) {
    const socket = t.open("/guarded", { auth: { token: "guess" } });
    let connected = false;
    socket.once("connect", () => (connected = true));
    const refused = await outcome(socket);
    const main = await t.joined(t.share(socket, "/"));
    await main.emitWithAck("fence");
    return { refused, connected, active: socket.active, let_in: await outcome(t.open("/guarded", { auth: { token: "secret" } })) };
  },

  async early(t) {
    const socket = t.open("/early");
    const answers = await new Promise((resolve) => {
      socket.once("connect", () => {
        const asked = [1, 2].map((number) => socket.emitWithAck("early", number));
        socket.emit("go");
        resolve(Promise.all(asked));
      });
    });
    return { answers, journal: await t.journal(4) };
  },

  async leaves_middleware(t) {
    const socket = t.open("/leaving", { auth: { where: "middleware" } });
    await t.journal(1);
    socket.io.engine.close();
    await t.journal(2);
    // Whatever else might be written comes before what the next client causes.
    const next = await t.connect("/leaving", { auth: { where: "nowhere" } });
    next.disconnect();
    return t.journal(5);
  },

  async leaves_hook(t) {
    const socket = await t.connect("/leaving", { auth: { where: "hook" } });
    await t.journal(2);
    socket.disconnect();
    return t.journal(5);
  },

  async leaves_handler(t) {
    const socket = await t.connect("/leaving", { auth: { where: "handler" } });
    socket.emit("wait");
    await t.journal(2);
    socket.disconnect();
    return t.journal(5);
  },

  async shared(t) {
    const socket = await t.connect("/shared");
    const answers = [await socket.emitWithAck("first"), await socket.emitWithAck("second"), await socket.emitWithAck("third", 3)];
    return { answers, journal: await t.journal(2) };
  },

  async patterns(t) {
    const main = await t.connect("/");
    const outcomes = {};
    for (const namespace of ["/dyn-7", "/dyn-8", "/dyn-x", "/xdyn-8"]) {
      const socket = t.share(main, namespace);
      const result = await outcome(socket);
      outcomes[namespace] = result === "connected" ? await socket.emitWithAck("name") : result;
    }
    return outcomes;
  },

  async forms(t) {
    const heard = [];
    const everybody = {};
    for (const namespace of ["/", "/ns"]) {
      for (const [name, rooms] of Object.entries({ a: ["game", "a"], b: ["game", "a", "b"], c: ["b"] })) {
        const socket = await t.connect(namespace);
        await socket.emitWithAck("join", ...rooms);
        socket.on("said", () => heard.push(`${namespace} ${name}`));
        everybody[`${namespace} ${name}`] = socket;
      }
    }
    const reached = {};
    for (const namespace of ["/", "/ns"]) {
      for (const form of FORMS) {
        await everybody[`${namespace} a`].emitWithAck("say", form);
        const fences = Promise.all(Object.values(everybody).map((socket) => t.next(socket, "fence")));
        everybody["/ a"].emit("fence");
        everybody["/ns a"].emit("fence");
        await fences;
        reached[`${namespace}: ${form}`] = heard.splice(0).sort().join(", ");
      }
    }
    return reached;
  },

  async argument_counts(t) {
    const { call } = await table(t);
    return {
      none: await call("pair"),
      one: await call("pair", 1),
      two: await call("pair", 1, 2),
      three: await call("pair", 1, 2, 3),
      "one of two": await call("exactly two", 1),
      "three of two": await call("exactly two", 1, 2, 3),
      rest: await call("rest", 1, 2, 3),
      wrong: await call("rest", 1, 2, "three"),
    };
  },

  async errors_in_messages(t) {
    const seen = {};
    for (const kind of ["handled", "unhandled"]) {
      const socket = await t.connect("/errors", { auth: { message: kind } });
      const heard = [];
      socket.onAny((...packet) => heard.push(packet));
      const answer = await t.acked(socket, "fail");
      socket.emit("fail");
      // The socket is still served, and unknown events are answered as well.
      const unknown = await socket.emitWithAck("unknown");
      seen[kind] = { answer, heard, unknown };
    }
    return seen;
  },

  async errors_at_connect(t) {
    const seen = {};
    for (const kind of ["handled", "unhandled"]) {
      const socket = t.open("/errors", { auth: { connect: kind } });
      const heard = [];
      socket.once("connect", () => heard.push("connect"));
      socket.onAny((...packet) => heard.push(packet));
      const [reason] = await t.next(socket, "disconnect");
      seen[kind] = [...heard, reason];
    }
    return { seen, journal: await t.journal(2) };
  },

  async errors_at_disconnect(t) {
    for (const kind of ["handled", "unhandled"]) {
      const socket = await t.connect("/errors", { auth: { disconnect: kind } });
      socket.disconnect();
    }
    const journal = await t.journal(2);
    const next = await t.connect("/errors");
    return { journal, next: await next.emitWithAck("fail") };
  },

  async sequence(t) {
    const socket = await t.connect("/sequence");
    const numbers = [];
    const done = [];
    socket.on("number", (number) => numbers.push(number));
    socket.on("done", (which) => done.push(which));
    for (let number = 0; number < 100; number++) socket.emit("number", number);
    const waiting = t.next(socket, "waiting");
    socket.emit("slow");
    socket.emit("fast");
    await waiting;
    socket.emit("go");
    while (done.length < 2) await t.next(socket, "done");
    return { numbers, done };
  },

  async long_ids(t) {
    const socket = await t.connect("/", { transports: ["polling"] });
    for (let number = 0; number < 5; number++) await socket.emitWithAck("fence");
    return { id: socket.io.engine.id, transport: socket.io.engine.transport.name };
  },

  async unknown(t) {
    const main = await t.connect("/");
    await main.emitWithAck("emit to unknown");
    return outcome(t.share(main, "/unknown"));
  },

  async late_middleware(t) {
    const socket = await t.connect("/");
    const error = await socket.emitWithAck("add middleware");
    return { error, next: await outcome(t.open("/")) };
  },
};

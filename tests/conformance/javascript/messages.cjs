"use strict";

const ANSWERS = {
  nothing: [],
  text: ["yes"],
  null: [null],
  undefined: [undefined],
  several: [1, "two", { three: 3 }],
  bytes: [Buffer.from([1, 2, 3])],
  nested: [{ deep: [Buffer.from([4]), "text", Buffer.alloc(0)] }],
};

const TEXTS = ["", "é", "漢字", "🙂", "\u0000", "\u001e", "\u2028\u2029", "\ud800", '"\\/', "_placeholder", "x".repeat(70_000)];

async function mirror(t, socket, ...args) {
  const reply = t.next(socket, "mirrored");
  socket.emit("mirror", ...args);
  return reply;
}

module.exports = {
  async argument_counts(t) {
    const socket = await t.connect("/");
    const replies = [];
    for (const args of [[], ["a"], ["a", 2], ["a", 2, null], ["a", 2, null, [4]], ["a", 2, null, [4], { five: 5 }]]) {
      replies.push(await mirror(t, socket, ...args));
    }
    return replies;
  },

  async texts(t) {
    const socket = await t.connect("/");
    const reply = await mirror(t, socket, ...TEXTS, { "ключ": ["значение"], __proto__x: 1, "": 2 });
    const event = await t.acked(socket, "événement 🎉", "ça va");
    return { changed: TEXTS.filter((text, index) => text !== reply[index]), object: reply[TEXTS.length], event };
  },

  async values(t) {
    const socket = await t.connect("/");
    return mirror(t, socket, true, false, null, 0, -1, 1.5, 1e21, 5e-324, 2 ** 53, 12345678901234567890, NaN, Infinity, undefined, new Date(0), [[[]]], {});
  },

  async binary(t) {
    const socket = await t.connect("/");
    const ten = Array.from({ length: 10 }, (_, index) => Buffer.from([index]));
    return {
      alone: await mirror(t, socket, Buffer.from([0, 255, 30, 10])),
      empty: await mirror(t, socket, Buffer.alloc(0)),
      mixed: await mirror(t, socket, "text", Buffer.from("a"), 1, Buffer.from("b")),
      nested: await mirror(t, socket, { list: [1, Buffer.from("c"), { deep: Buffer.from("d") }], text: "e" }),
      kinds: await mirror(t, socket, new Uint8Array([1, 2]), new Uint8Array([3, 4]).buffer),
      ten: await mirror(t, socket, ten),
      placeholder: await mirror(t, socket, { _placeholder: true, num: 0 }),
    };
  },

  async binary_from_server(t) {
    const socket = await t.connect("/");
    const sent = t.next(socket, "bytes");
    socket.emit("send bytes");
    return sent;
  },

  async acks(t) {
    const socket = await t.connect("/");
    return {
      nothing: await t.acked(socket, "echo"),
      one: await t.acked(socket, "echo", "x"),
      several: await t.acked(socket, "echo", 1, "two", { three: 3 }),
      firstOnly: await socket.emitWithAck("echo", 1, 2),
      null: await t.acked(socket, "echo", null),
      undefined: await t.acked(socket, "echo", undefined),
      bytes: await t.acked(socket, "echo", Buffer.from("a"), { deep: [Buffer.from("b"), Buffer.alloc(0)] }),
    };
  },

  // Sixteen at once: every answer finds its own question.
  async acks_in_flight(t) {
    const socket = await t.connect("/");
    const numbers = Array.from({ length: 16 }, (_, index) => index);
    return Promise.all(numbers.map((number) => socket.emitWithAck("echo", number)));
  },

  async ack_timeouts(t) {
    const socket = await t.connect("/");
    const inTime = await socket.timeout(9_000).emitWithAck("echo", "in time");
    const error = await socket.timeout(50).emitWithAck("never acked").catch((failure) => failure.message);
    return { inTime, error, alive: await socket.emitWithAck("echo", "alive") };
  },

  async acks_from_client(t) {
    const socket = await t.connect("/");
    socket.on("question", (kind, answer) => answer(...ANSWERS[kind]));
    const seen = {};
    for (const kind of Object.keys(ANSWERS)) seen[kind] = await socket.emitWithAck("ask", kind);
    return seen;
  },

  async client_answers_too_late(t) {
    const socket = await t.connect("/");
    const question = t.next(socket, "question");
    const outcome = await socket.emitWithAck("ask impatiently");
    const [answer] = await question;
    answer("too late");
    return { outcome, alive: await socket.emitWithAck("echo", "alive") };
  },

  async client_leaves_instead_of_answering(t) {
    const socket = await t.connect("/");
    socket.once("question", () => socket.disconnect());
    socket.emit("ask and note");
    return t.journal(2);
  },

  async one_at_a_time_and_in_order(t) {
    const socket = await t.connect("/");
    const waiting = t.next(socket, "waiting");
    socket.emit("slow");
    socket.emit("fast");
    await waiting;
    socket.emit("release");
    return socket.emitWithAck("trace");
  },

  async concurrent_handlers(t) {
    const socket = await t.connect("/");
    socket.emit("slow and concurrent");
    socket.emit("fast");
    // The handlers start in order, so this answer means that "fast" has run although "slow" has not ended.
    const before = await socket.emitWithAck("trace");
    socket.emit("release");
    return { before, after: await t.journal(before.length + 1) };
  },

  async many_in_order(t) {
    const socket = await t.connect("/");
    const there = [];
    socket.on("mirrored", (number) => there.push(number));
    for (let number = 0; number < 200; number++) socket.emit("mirror", number);
    await socket.emitWithAck("echo");
    return there;
  },

  // The first of the 300 handlers asks the client something while the other 299 messages wait.
  async backlog(t) {
    const socket = t.open("/backlog");
    socket.on("question", (answer) => answer("answered"));
    for (let number = 0; number < 300; number++) socket.emit("numbered", number);
    return socket.emitWithAck("numbers");
  },

  async large(t) {
    const socket = await t.settled(await t.connect("/"));
    // On polling bytes travel as base64, 700 kB as 933; with msgpack everything does.
    const text = "é".repeat(t.parser === "msgpack" ? 350_000 : 450_000);
    const bytes = Buffer.alloc(700_000, 7);
    const [sameText] = await t.acked(socket, "echo", text);
    const [sameBytes] = await t.acked(socket, "echo", bytes);
    return { text: sameText === text, bytes: bytes.equals(sameBytes), alive: await socket.emitWithAck("echo", "alive") };
  },

  async large_and_fast(t) {
    const socket = await t.connect("/");
    // Polling sends MessagePack as base64, and a POST has at most 1,000,000 bytes.
    const text = "x".repeat(t.parser === "msgpack" ? 700_000 : 900_000);
    const lengths = await Promise.all(Array.from({ length: 7 }, () => socket.emitWithAck("measure slowly", text)));
    return { lengths, alive: await t.acked(socket, "echo", "alive") };
  },

  async too_large(t) {
    const socket = await t.settled(await t.connect("/"));
    const ended = t.next(socket, "disconnect");
    socket.emit("echo", "x".repeat(1_000_001));
    const [reason, details] = await ended;
    const cause = t.mode === "polling" ? details.description : details.context.code;
    return { reason, cause, journal: await t.journal(1) };
  },

  async volatile(t) {
    const socket = await t.settled(await t.connect("/"));
    const ticks = [];
    socket.on("tick", (number) => ticks.push(number));
    await t.acked(socket, "echo");
    socket.emit("volatile", 50);
    await t.next(socket, "ticked");
    const increasing = ticks.every((number, index) => index === 0 || number > ticks[index - 1]);
    return { increasing, last: ticks.at(-1) };
  },
};

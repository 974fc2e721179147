"use strict";

// Every handler once without and once with acknowledgement.
// "fence" is handled, and acknowledged, after whatever came before it; what has not arrived by then never will.

const CALLS = {
  none: [],
  zero: [],
  empty: [],
  false: [],
  "empty list": [],
  dict: [],
  tuple: [],
  "empty tuple": [],
  list: [],
  bytes: [],
  raises: [],
  "handled by the event": [],
  "handled by the route": [],
  "handled by the table": [],
  fits: [1, { x: 2, y: 3 }],
  "fits with one too many": [1, { x: 2, y: 3 }, "extra"],
  "wrong type": ["one", { x: 2, y: 3 }],
  "wrong inside": [1, { x: 2, y: "three" }],
  "too few": [1],
  "default used": [1],
  unknown: [],
  "no ack": [],
  "manual ack": ["now"],
  "manual ack and raises": [],
  "to a room": [],
  everybody: [],
};

// Several names for one handler would hide which call is meant, so these share one event.
const EVENTS = { "fits with one too many": "fits", "wrong type": "fits", "wrong inside": "fits", "too few": "fits" };

async function both(t, call) {
  const socket = await t.connect("/results");
  const neighbour = await t.connect("/results");
  await neighbour.emitWithAck("join", "lobby");
  await socket.emitWithAck("join", "lobby");
  const heard = [];
  socket.onAny((event, ...args) => heard.push([event, ...args]));
  neighbour.onAny((event, ...args) => heard.push(["neighbour", event, ...args]));
  const play = async (...args) => {
    const answers = [];
    socket.emit(EVENTS[call] ?? call, ...CALLS[call], ...args.map(() => (...answer) => answers.push(answer)));
    await socket.emitWithAck("fence");
    await neighbour.emitWithAck("fence");
    // Between two connections there is no order.
    return { heard: heard.splice(0).sort((one, other) => (one[0] === "neighbour") - (other[0] === "neighbour")), answers };
  };
  const plain = await play();
  const acked = await play("with ack");
  socket.disconnect();
  neighbour.disconnect();
  return { plain: plain.heard, acked: acked.heard, answers: acked.answers };
}

module.exports = {
  ...Object.fromEntries(Object.keys(CALLS).map((call) => [`result: ${call}`, (t) => both(t, call)])),

  // Another task answers when the handler has long returned.
  async late_ack(t) {
    const socket = await t.connect("/results");
    const answer = socket.emitWithAck("manual ack", "later");
    const first = await Promise.race([answer.then(() => "answer"), socket.emitWithAck("fence").then(() => "fence")]);
    socket.emit("release");
    return { first, answer: await answer };
  },
};

// Usage: node chat.cjs URL TOKEN OTHER_TOKEN
//
// Two official clients in examples/chat_with_database: one is cut off, misses something, and is recovered.

"use strict";

const assert = require("node:assert/strict");
const { once } = require("node:events");
const { io } = require("socket.io-client");

const [url, token, otherToken] = process.argv.slice(2);
const connect = (token) => io(url, { auth: { token }, forceNew: true, transports: ["websocket"], reconnectionDelay: 100 });
const heard = async (socket, event) => (await once(socket, event))[0];

async function main() {
  const stranger = connect("guess");
  const refusal = await heard(stranger, "connect_error");
  assert.deepEqual([refusal.message, refusal.data], ["Connect with auth: {token: ...}.", { code: "bad token" }]);
  stranger.disconnect();

  const ann = connect(token);
  const bob = connect(otherToken);
  assert.deepEqual(await ann.emitWithAck("enter", "tea"), []);
  assert.deepEqual(await bob.emitWithAck("enter", "tea"), []);

  const first = heard(bob, "said");
  const message = await ann.emitWithAck("say", "tea", "Hello!");
  assert.deepEqual(message, { id: 1, room: "tea", author: "Ann", text: "Hello!" });
  assert.deepEqual(await first, message);

  const id = bob.id;
  bob.io.engine.close();
  const missed = heard(bob, "said");
  await ann.emitWithAck("say", "tea", "Are you there?");
  assert.equal((await missed).text, "Are you there?");
  assert.ok(bob.recovered);
  assert.equal(bob.id, id);

  // Name and rooms have come back, too.
  assert.equal((await bob.emitWithAck("say", "tea", "Again.")).author, "Bob");
  const texts = (await bob.emitWithAck("enter", "tea", 1)).map(({ text }) => text);
  assert.deepEqual(texts, ["Are you there?", "Again."]);
  assert.match((await bob.emitWithAck("say", "coffee", "Hello!")).message, /Enter coffee first/);
  ann.disconnect();
  bob.disconnect();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

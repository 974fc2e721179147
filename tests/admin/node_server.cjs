// A Node server with the admin page's own server part, the classic Redis adapter, a client, and a page. Usage: node node_server.cjs REDIS_PORT HASH
//
// It prints {"id"}, which is the client's, then {"heard": [event, ...args]} for what the page hears and {"gone": reason}; it ends with its
// standard input.

"use strict";

const { createServer } = require("node:http");

const { instrument } = require("@socket.io/admin-ui");
const { createAdapter } = require("@socket.io/redis-adapter");
const { createClient } = require("redis");
const { Server } = require("socket.io");
const { io: connect } = require("socket.io-client");

const print = (line) => console.log(JSON.stringify(line));

async function main() {
  const redis = createClient({ socket: { port: Number(process.argv[2]), host: "127.0.0.1" } });
  const subscriber = redis.duplicate();
  await Promise.all([redis.connect(), subscriber.connect()]);
  const http = createServer();
  const io = new Server(http, { adapter: createAdapter(redis, subscriber) });
  instrument(io, { auth: { type: "basic", username: "ada", password: process.argv[3] }, mode: "development", serverId: "Node" });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${http.address().port}`;
  const client = connect(url, { forceNew: true, reconnection: false });
  client.on("disconnect", (gone) => print({ gone }));
  await new Promise((resolve) => client.on("connect", resolve));
  const page = connect(`${url}/admin`, { forceNew: true, auth: { username: "ada", password: "a secret of Ada's" } });
  page.onAny((...heard) => print({ heard }));
  await new Promise((resolve) => page.on("connect", resolve));
  print({ id: client.id });
}

process.stdin.resume().on("end", () => process.exit(0));
main();

// The benchmark's application on the official server, defaults.
// node node_server.js PORT [--ping-interval SECONDS] [--middleware] [--tls CERTIFICATE KEY] [--redis PORT]
const { readFileSync } = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const { Server } = require("socket.io");
const application = require("./application.cjs");

const [port, ...options] = process.argv.slice(2);
const option = (name, offset = 1) => (options.includes(name) ? options[options.indexOf(name) + offset] : undefined);

async function main() {
  const tls = option("--tls") && { cert: readFileSync(option("--tls")), key: readFileSync(option("--tls", 2)) };
  const listener = tls ? https.createServer(tls) : http.createServer();
  const settings = { serveClient: false, pingInterval: Number(option("--ping-interval") ?? 25) * 1000 };
  if (option("--redis")) {
    const { createClient } = require("redis");
    const publisher = createClient({ socket: { host: "127.0.0.1", port: Number(option("--redis")) } });
    const subscriber = publisher.duplicate();
    await Promise.all([publisher.connect(), subscriber.connect()]);
    settings.adapter = require("@socket.io/redis-adapter").createAdapter(publisher, subscriber);
  }
  application(new Server(listener, settings), options.includes("--middleware"));
  listener.listen(Number(port), "127.0.0.1");
}

main();

// The benchmark's application on the official engine for Bun, defaults; the options are those of node_server.js.
import { Server as Engine } from "@socket.io/bun-engine";
import { Server } from "socket.io";
import application from "./application.cjs";

const [port, ...options] = process.argv.slice(2);
const option = (name: string, offset = 1) => (options.includes(name) ? options[options.indexOf(name) + offset] : undefined);

const io = new Server();
const engine = new Engine({ path: "/socket.io/", pingInterval: Number(option("--ping-interval") ?? 25) * 1000 });
io.bind(engine);
application(io, options.includes("--middleware"));

const tls = option("--tls") && { cert: Bun.file(option("--tls")!), key: Bun.file(option("--tls", 2)!) };

// idleTimeout: the engine wants it longer than the ping interval.
export default { port: Number(port), hostname: "127.0.0.1", idleTimeout: 30, ...engine.handler(), ...(tls ? { tls } : {}) };

// The benchmark's application on the official server, defaults. node node_server.js PORT [PING_INTERVAL_IN_SECONDS]
const { Server } = require("socket.io");

const [port, pingInterval = 25] = process.argv.slice(2).map(Number);
const io = new Server(port, { serveClient: false, pingInterval: pingInterval * 1000 });

io.on("connection", (socket) => {
  socket.on("echo", (data, ack) => ack(data));
  socket.on("broadcast", (data) => io.emit("msg", data));
});

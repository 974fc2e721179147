// The benchmark's application on the official server, defaults. node node_server.js PORT
const { Server } = require("socket.io");

const io = new Server(Number(process.argv[2]), { serveClient: false });

io.on("connection", (socket) => {
  socket.on("echo", (data, ack) => ack(data));
  socket.on("broadcast", (data) => io.emit("msg", data));
});

"use strict";

// A client that has no binary messages: it writes base64, and asks for it.

// The messages of the WebSocket while `step` runs: whether any of them was binary.
async function kinds(socket, step) {
  const { ws } = socket.io.engine.transport;
  const seen = new Set();
  const see = (_, isBinary) => seen.add(isBinary);
  if (ws) ws.on("message", see);
  const result = await step();
  if (ws) ws.off("message", see);
  return { result, binary: [...seen] };
}

module.exports = {
  async attachments_both_ways(t) {
    const socket = await t.settled(await t.connect("/", { forceBase64: true }));
    const mirrored = t.next(socket, "mirrored");
    return kinds(socket, async () => {
      socket.emit("mirror", Buffer.from([0, 1, 2]), { deep: [Buffer.from([255])] }, "text");
      return [await mirrored, await t.acked(socket, "echo", Buffer.from([3]), "text")];
    });
  },
};

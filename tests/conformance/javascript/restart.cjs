"use strict";

module.exports = {
  async restart(t) {
    const socket = t.open("/", { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 100, randomizationFactor: 0 });
    await t.settled(await t.joined(socket));
    const firstId = socket.id;
    const heard = [];
    socket.on("mirrored", (...args) => heard.push(args));
    const ended = t.next(socket, "disconnect");
    // A whole other conversation: after it the server surely has the poll that this client waits in.
    await t.journal(0);
    t.signal("restart");
    const [reason] = await ended;
    const active = socket.active;
    // Said while there is no server: the client keeps it for the next one.
    socket.emit("mirror", "kept");
    // Attempts fail until the new server listens, so `joined` would give up.
    await t.next(socket, "connect");
    await t.settled(socket);
    const alive = await socket.emitWithAck("echo", "alive");
    return { reason, active, newId: socket.id !== firstId, recovered: socket.recovered, alive, heard };
  },
};

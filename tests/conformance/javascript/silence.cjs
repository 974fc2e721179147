"use strict";

// For a server with error_acks=False: no error is answered.

module.exports = {
  async errors_are_not_answered(t) {
    const socket = await t.connect("/results");
    const answered = [];
    for (const [event, ...args] of [["raises"], ["fits", "one"], ["unknown"], ["no ack"], ["manual ack and raises"], ["zero"]]) {
      socket.emit(event, ...args, () => answered.push(event));
    }
    await socket.emitWithAck("fence");
    return answered;
  },
};

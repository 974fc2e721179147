"""Bytes to packets and back: Engine.IO 4 and Socket.IO 5. No I/O, no Trio, no state but a half-received packet."""

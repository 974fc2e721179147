"""Between servers: what they say to each other, and how it gets there.

`payload`, `fields`, `messages` and `codec` are bytes to values and back, without I/O; so is what `redis` has in `channels` and `codec`.
"""

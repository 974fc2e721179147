"""Where connections come from: each door only translates its own world into what `trio_sio.engine.door` describes."""

"""Redis as the bus between servers, as Node's servers use it."""

"""What a listener needs in order to speak TLS, from files."""

from __future__ import annotations

import ssl
from pathlib import Path

from ...errors import ConfigurationError

__all__ = ["load_certificate"]


def load_certificate(certfile: Path | str, keyfile: Path | str | None) -> ssl.SSLContext:
    """Return the context of a server.

    Args:
      certfile: The certificate chain, in PEM.
      keyfile: The private key, in PEM; ``None``: it is in ``certfile``, too.

    Raises:
      ConfigurationError: if that is no certificate with its key, with a sentence that says what to do about it.
    """
    key = str(keyfile or certfile)

    def no_password() -> str:
        raise ConfigurationError(f"The private key in {key!r} is encrypted; name one that is not.")

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        # The default is to ask for it at the terminal.
        context.load_cert_chain(certfile, keyfile, no_password)
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            raise ConfigurationError(f"The private key in {key!r} does not belong to the certificate.") from None
        missing = "" if keyfile else "; name the key's file with keyfile, if it has one of its own"
        raise ConfigurationError(f"certfile and keyfile name no certificate with its private key in PEM{missing}.") from None
    except OSError as exc:
        raise ConfigurationError(f"The certificate or its key cannot be read: {exc.strerror}.") from None
    return context

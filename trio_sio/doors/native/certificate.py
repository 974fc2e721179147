"""What a listener needs in order to speak TLS, from files."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ...errors import ConfigurationError

__all__ = ["Certificate"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, as files; what they are is read whenever it is needed.

    Attributes:
      certfile: The certificate chain, in PEM.
      keyfile: The private key, in PEM; ``None``: it is in ``certfile``, too.
    """

    certfile: str
    keyfile: str | None

    @classmethod
    def of(cls, certfile: Path | str | None, keyfile: Path | str | None) -> Self | None:
        """Return that of these files, of which one can make something; ``None`` if none is named.

        Raises:
          ConfigurationError: as `load`, and if there is only a key.
        """
        if certfile is None:
            if keyfile is not None:
                raise ConfigurationError("keyfile alone makes no TLS; name the certificate with certfile as well.")
            return None
        certificate = cls(str(certfile), None if keyfile is None else str(keyfile))
        certificate.load()
        return certificate

    def load(self) -> ssl.SSLContext:
        """Return the context of a server.

        Raises:
          ConfigurationError: if that is no certificate with its key, with a sentence that says what to do about it.
        """
        key = self.keyfile or self.certfile

        def no_password() -> str:
            raise ConfigurationError(f"The private key in {key!r} is encrypted; name one that is not.")

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        try:
            # The default is to ask for it at the terminal.
            context.load_cert_chain(self.certfile, self.keyfile, no_password)
        except ssl.SSLError as exc:
            if exc.reason == "KEY_VALUES_MISMATCH":
                raise ConfigurationError(f"The private key in {key!r} does not belong to the certificate.") from None
            missing = "" if self.keyfile else "; name the key's file with keyfile, if it has one of its own"
            raise ConfigurationError(f"certfile and keyfile name no certificate with its private key in PEM{missing}.") from None
        except OSError as exc:
            raise ConfigurationError(f"The certificate or its key cannot be read: {exc.strerror}.") from None
        return context

"""TLS of our door, as BCP 195 (RFC 8996, RFC 9325) recommends and PS3.15 annex B asks of DICOM.

1.2 and 1.3 alone, with forward secrecy and authenticated encryption. The files are read again when they change, so
that a new certificate needs no restart.
"""

import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

_log = structlog.get_logger()

CIPHERS_OF_TLS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"
"""In the words of OpenSSL; those of TLS 1.3 are all good."""


class CredentialsRefused(Exception):
    """Files that TLS cannot be spoken with; one sentence says which, why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Files in PEM."""

    certificate: Path
    """Ours, and after it those that lead to an authority which callers trust."""
    key: Path
    """The certificate's private key, without a pass phrase."""
    callers: Path | None = None
    """Authorities of callers' certificates; where it is given, a caller without one is turned away."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All that there are."""
        return (self.certificate, self.key, *([self.callers] if self.callers else []))

    def stamp(self) -> tuple[tuple[int, ...], ...]:
        """Return what tells whether a file changed, or who may read it.

        Raises:
            OSError: if one is missing.
        """
        states = [file.stat() for file in self.files]
        return tuple((state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino) for state in states)

    def unreadable(self) -> str:
        """Return the first file that cannot be read, and why not; nothing where all can."""
        for file in self.files:
            try:
                file.open("rb").close()
            except OSError as refused:
                return f"{file} cannot be read ({refused.strerror})"
        return ""


class Tls:
    """Wraps connections with the credentials as they lie on the disk at this moment.

    Raises:
        CredentialsRefused: if they cannot be used when it is made. Later the old ones stay in use, and a line says so.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._stamp: object = None
        self._context = self._read()

    def wrap(self, connection: socket.socket) -> ssl.SSLSocket:
        """Put a connection that does not block under TLS; its handshake is still to be done."""
        try:
            if self._credentials.stamp() != self._stamp:
                self._context = self._read()
                _log.info("certificates-read-again", certificate=str(self._credentials.certificate))
        except (OSError, CredentialsRefused) as refused:
            _log.error("certificates-unusable", reason=str(refused), advice="the former ones stay in use")
        return self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)

    def _read(self) -> ssl.SSLContext:
        credentials = self._credentials
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.set_ciphers(CIPHERS_OF_TLS_1_2)
        try:
            self._stamp = credentials.stamp()
            context.load_cert_chain(credentials.certificate, credentials.key, password="")
            if credentials.callers:
                context.load_verify_locations(credentials.callers)
                context.verify_mode = ssl.CERT_REQUIRED
        except ssl.SSLError as refused:
            names = ", ".join(map(str, credentials.files))
            raise CredentialsRefused(
                f"TLS cannot be spoken with {names} ({refused.reason or refused}): give a certificate, its own key "
                "without a pass phrase, and authorities, all in PEM, under [tls]."
            ) from refused
        except OSError as refused:
            said = credentials.unreadable() or f"TLS cannot be spoken ({refused.strerror or refused})"
            raise CredentialsRefused(f"{said}: name files under [tls] that this user may read.") from refused
        return context


def finish_sending(connection: socket.socket) -> None:
    """Say that nothing more comes from us: close_notify where TLS is spoken, then the end of the stream.

    Waits for nobody. What still comes is no longer deciphered: it is only to be drained.

    Raises:
        OSError: if the connection has gone.
    """
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(0)
        with suppress(OSError, ValueError):
            connection.unwrap()
    connection.shutdown(socket.SHUT_WR)

"""HTTP POST, signed: ``X-Fimscan-Signature: t=SECONDS,v1=HMAC-SHA256("SECONDS.ID.BODY")`` in hex."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from urllib.parse import urlsplit

import urllib3

from fimscan import __version__
from fimscan.outputs.receivers.base import (
    DeliveryError,
    Envelope,
    Receiver,
    RefusedError,
    cleaned,
    read_secret,
    tls_context,
)

_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOST_ANSWER = 2048


class WebhookReceiver(Receiver):
    """A web server. It has the message when it answers 2xx; redirections are not followed."""

    def __init__(self, url: str, *, url_source: str, secret_source: str, ca_file: str, timeout_s: float) -> None:
        self._url = url
        self._url_source = url_source
        self._secret_source = secret_source
        self._ca_file = ca_file
        self._timeout_s = timeout_s

    def send(self, body: bytes, envelope: Envelope) -> str:
        """Send the message."""
        url = self._url or read_secret(self._url_source)
        if not re.fullmatch(r"https?://[^\s]+", url):
            raise DeliveryError(f"{self._url_source}: no URL of http or https")
        where = _host(url)
        headers = {
            "Content-Type": envelope.content_type,
            "User-Agent": f"fimscan/{__version__}",
            "X-Fimscan-Id": envelope.id,
            "Idempotency-Key": envelope.id,
        }
        if self._secret_source:
            now = int(time.time())
            value = signature(read_secret(self._secret_source).encode(), now, envelope.id, body)
            headers["X-Fimscan-Signature"] = f"t={now},v1={value}"
        context = tls_context(self._ca_file) if url.startswith("https:") else None
        with urllib3.PoolManager(ssl_context=context, retries=False) as pool:
            try:
                # Not read as a whole: an answer may be endless.
                response = pool.request(
                    "POST",
                    url,
                    body=body,
                    headers=headers,
                    redirect=False,
                    preload_content=False,
                    timeout=urllib3.Timeout(total=self._timeout_s),
                )
                try:
                    said = cleaned(response.read1(_MOST_ANSWER, decode_content=False).decode("utf-8", "replace"))
                finally:
                    response.close()
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                # Its text may have the URL, and that may be a secret.
                raise DeliveryError(f"{where}: {_reason(error)}") from None
        if 200 <= response.status < 300:
            return f"{response.status} {said}".strip()
        words = f"{where}: HTTP {response.status}{': ' if said else ''}{said}"
        raise (DeliveryError if response.status in _BUSY else RefusedError)(words)


def signature(secret: bytes, seconds: int, message_id: str, body: bytes) -> str:
    """The signature of a message: HMAC-SHA256, in hex."""
    return hmac.new(secret, b"%d.%b.%b" % (seconds, message_id.encode(), body), hashlib.sha256).hexdigest()


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    except ValueError:
        return "the web server"


def _reason(error: Exception) -> str:
    match error:
        case urllib3.exceptions.NewConnectionError():
            return "no connection"
        case urllib3.exceptions.TimeoutError():
            return "no answer in time"
        case urllib3.exceptions.SSLError():
            return "TLS failed; is its certificate trusted (ca_file)?"
        case urllib3.exceptions.ProtocolError():
            return "the connection was closed"
    return type(error).__name__

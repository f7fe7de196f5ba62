"""Deadlines for connections, whatever a server sends meanwhile.

A socket's timeout begins again with every byte. A server that sends one header byte every few seconds, or informational
answers without end, would keep a request for days; only another thread than the reading one can end that.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

# As in `transport`: only a request needs it.
if TYPE_CHECKING:
    import requests.adapters

#: Seconds between two checks of the connections.
_POLL = 0.25


class Limit:
    """The time that one piece of work on a connection may take."""

    def __init__(self, connection: socket.socket, due: float) -> None:
        self.connection = connection
        self.due = due
        self.expired = False


class Watchdog:
    """Ends connections that are beyond their limit. Safe for threads; its own runs only while there are limits.

    Once ``stop`` is set, it ends all of them: a reader would otherwise wait as long as a server is silent.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._limits: set[Limit] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def limit(self, connection: socket.socket | None, seconds: float) -> Iterator[Limit | None]:
        """Shut ``connection`` down where the block takes longer; the limit that is yielded then says that it expired.

        Without a connection nothing is watched.
        """
        if connection is None:
            yield None
            return
        limit = Limit(connection, time.monotonic() + seconds)
        with self._lock:
            self._limits.add(limit)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)
                self._thread.start()
        try:
            yield limit
        finally:
            with self._lock:
                self._limits.discard(limit)

    def _watch(self) -> None:
        while True:
            self._stop.wait(_POLL)
            now = time.monotonic()
            with self._lock:
                for limit in self._limits:
                    if (now > limit.due or self._stop.is_set()) and not limit.expired:
                        limit.expired = True
                        with contextlib.suppress(OSError):
                            # The socket's own: SSLSocket.shutdown would take the TLS layer from the reading thread.
                            socket.socket.shutdown(limit.connection, socket.SHUT_RDWR)
                if not self._limits:
                    self._thread = None
                    return
            if self._stop.is_set():
                time.sleep(_POLL)


def adapter(watchdog: Watchdog, seconds: float) -> requests.adapters.HTTPAdapter:
    """Return an adapter for requests whose connections have ``seconds`` for all headers of an answer.

    Its answers keep their connection as ``watched``, for limits on what follows.
    """
    # Here, because only a request needs them, and they take longer to import than typer.
    import requests.adapters
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    def answer(connection: Any, read: Any) -> Any:
        used = connection.sock
        late = f"the headers took more than {seconds:.0f} s"
        with watchdog.limit(used, seconds) as limit:
            try:
                response = read()
            except Exception as error:
                if limit is not None and limit.expired:
                    raise TimeoutError(late) from error
                raise
        # To http.client the end of a connection is the end of the headers as well.
        if limit is not None and limit.expired:
            response.close()
            raise TimeoutError(late)
        response.watched = used
        return response

    class Plain(HTTPConnection):
        def getresponse(self) -> Any:
            return answer(self, super().getresponse)

    class Secure(HTTPSConnection):
        def getresponse(self) -> Any:
            return answer(self, super().getresponse)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    class Adapter(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options)
            self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

        def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
            manager = super().proxy_manager_for(*arguments, **options)
            manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
            return manager

    return Adapter()

"""Limited waiting for the hub: a server that says nothing, or next to nothing, is abandoned after some seconds.

The library limits the wait for each read, repeats what timed out, and does not limit some requests at all, so that a
silent server takes minutes and one that sends a byte now and then takes forever. Here all requests of a call are
watched together: when none of them receives anything for some seconds, their connections are closed and no further one
begins.
"""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from huggingface_hub import constants
from huggingface_hub.utils import get_session

PROGRESS = 1000  # bytes; fewer than these, or an answer's head, in all that time count as silence
LOOK_EVERY = 0.2  # seconds between two looks at the clock
LATER = 2.0  # seconds by which the library's own limits are longer than ours


class Silence(Exception):
    """The server has sent nothing for too long."""


def patience() -> float:
    """Return the seconds to wait: 10, or what HF_HUB_DOWNLOAD_TIMEOUT or HF_HUB_ETAG_TIMEOUT says, the longer one."""
    return float(max(constants.HF_HUB_DOWNLOAD_TIMEOUT, constants.HF_HUB_ETAG_TIMEOUT))


@contextlib.contextmanager
def limited_wait(seconds: float) -> Iterator[None]:
    """Give up on the hub, in whatever the library does inside, when it is silent for some seconds.

    Parameters
    ----------
    seconds : float
        How long the hub may be silent.

    Raises
    ------
    Silence
        Instead of whatever the library makes of it.
    """
    watch = _Watch(seconds)
    client = get_session()
    _change_hooks(client, add=watch)
    handlers = list(logging.getLogger("huggingface_hub").handlers)
    for handler in handlers:
        handler.addFilter(watch.passes)
    over = threading.Event()
    thread = threading.Thread(target=watch.run, args=(over,), daemon=True, name="patience with the hub")
    thread.start()
    try:
        yield
    except Exception as error:
        if watch.gave_up:
            raise Silence(f"silent for {seconds:g} s") from error
        raise
    finally:
        over.set()
        thread.join()
        for handler in handlers:
            handler.removeFilter(watch.passes)
        _change_hooks(client, remove=watch)


_hooks = threading.Lock()  # two calls at the same time change the hooks of one client


def _change_hooks(client: Any, *, add: "_Watch | None" = None, remove: "_Watch | None" = None) -> None:
    with _hooks:
        hooks = {kind: list(found) for kind, found in client.event_hooks.items()}
        if add:
            hooks["request"].append(add.before)
            hooks["response"].append(add.answered)
        if remove:
            hooks["request"].remove(remove.before)
            hooks["response"].remove(remove.answered)
        client.event_hooks = hooks


class _Watch:
    """What the requests of one call have received, and when.

    Parameters
    ----------
    seconds : float
        How long all of them may be silent.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.gave_up = False
        self._lock = threading.Lock()
        self._waiting: set[object] = set()  # the requests under way
        self._connections: list[socket.socket] = []
        self._answers: list[Any] = []
        self._failed = False  # whether the last event of a request was a failure
        self._last, self._received = time.monotonic(), 0

    def run(self, over: threading.Event) -> None:
        """Watch the clock until the call is over."""
        while not over.wait(min(LOOK_EVERY, self.seconds / 4)):
            if self._is_silent():
                self.gave_up = True
                for connection in list(self._connections):
                    with contextlib.suppress(OSError):  # it is closed already
                        connection.shutdown(socket.SHUT_RDWR)  # whoever reads from it wakes up

    def _is_silent(self) -> bool:
        with self._lock:
            received = sum(PROGRESS + answer.num_bytes_downloaded for answer in self._answers)
            if self._is_idle() or received - self._received >= PROGRESS:
                self._last, self._received = time.monotonic(), received
            return time.monotonic() - self._last >= self.seconds

    def _is_idle(self) -> bool:
        """Return whether nobody waits; between two attempts at a request, somebody does."""
        return not self._waiting and not self._failed

    def before(self, request: Any) -> None:
        """Follow a request from its start; after silence, refuse it: the library repeats what failed."""
        if self.gave_up:
            raise Silence
        key = object()
        with self._lock:
            if self._is_idle():
                self._last = time.monotonic()
            self._waiting.add(key)
        request.extensions = {**request.extensions, "trace": self._follow(key), "timeout": self._limits(request)}

    def _limits(self, request: Any) -> dict[str, float]:
        """Before there is a connection, none can be closed: the library has to end the attempt itself, a bit later."""
        own, most = request.extensions.get("timeout") or {}, self.seconds + LATER
        return {"read": most, "write": most, "pool": most, "connect": min(own.get("connect") or most, most)}

    def _follow(self, key: object) -> Callable[[str, dict[str, Any]], None]:
        def trace(event: str, info: dict[str, Any]) -> None:
            if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
                self._connections.append(info["return_value"].get_extra_info("socket"))
            failed = event.endswith(".failed")
            if failed or ".response_closed." in event:
                with self._lock:
                    self._waiting.discard(key)
                    self._failed = self._failed or failed

        return trace

    def answered(self, response: Any) -> None:
        """Count the head of an answer, and from now on its bytes."""
        with self._lock:
            self._answers.append(response)
            self._failed = False

    def passes(self, _: logging.LogRecord) -> bool:
        """Return whether the library may still log: not how it repeats what has been abandoned."""
        return not self.gave_up

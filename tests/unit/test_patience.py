"""A hub that sends nothing, or next to nothing, is given up within seconds and in one line, whenever that begins."""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session, get_session

from tokalign_helpers.models import hub
from tokalign_helpers.models.patience import patience

COMMIT, WAIT = "c0ffee" + "0" * 34, 0.5
INFO = {"id": "a/b", "sha": COMMIT, "siblings": [{"rfilename": "config.json"}], "tags": []}
TREE = [{"type": "file", "path": "config.json", "size": 6000, "oid": "a" * 40}]
FILE = f'ETag: "{"a" * 40}"\r\nX-Repo-Commit: {COMMIT}\r\n'


class Server:
    """A hub with one model of one file. At one point of the conversation it sends nothing, or a byte now and then.

    Parameters
    ----------
    fault : str
        ``WHERE HOW``: in an answer to the api, to HEAD or to GET; in its head or its body; ``silent`` or ``dribbles``.
        A body of a GET may be ``slow``, which is no fault.
    """

    def __init__(self, fault=""):
        self.fault, self.asked = fault, []
        self.over = threading.Event()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.over.is_set():
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection, connection.makefile("rb") as lines:
            while request := lines.readline().decode():
                while lines.readline().strip():
                    pass
                method, path, _ = request.split()
                self.asked.append(f"{method} {path}")
                kind = "api" if "/api/" in path else method
                body = (
                    json.dumps(TREE if "/tree/" in path else INFO).encode()
                    if kind == "api"
                    else b"{" + b" " * 5998 + b"}"
                )
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{'' if kind == 'api' else FILE}\r\n"
                try:
                    self.send(connection, kind, "head", head.encode())
                    self.send(connection, kind, "body", b"" if method == "HEAD" else body)
                except OSError:  # we were given up
                    return

    def send(self, connection, kind, part, content):
        how = self.fault.removeprefix(f"{kind} {part} ") if self.fault.startswith(f"{kind} {part} ") else ""
        if how == "silent":
            self.over.wait(60)
        size, pause = {"dribbles": (1, 0.05), "slow": (600, 0.1)}.get(how, (len(content), 0))
        for start in range(0, len(content), size or 1):
            connection.sendall(content[start : start + size])
            self.over.wait(pause)

    def close(self):
        self.over.set()
        self.listening.close()


@pytest.fixture
def serve(tmp_path, monkeypatch):
    servers = []

    def start(fault=""):
        servers.append(Server(fault))
        monkeypatch.setenv("HF_ENDPOINT", servers[-1].address)
        return servers[-1]

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", WAIT)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", WAIT)
    close_session()
    yield start
    for server in servers:
        server.close()
    close_session()


@pytest.mark.parametrize("how", ["silent", "dribbles"])
@pytest.mark.parametrize("where", ["api head", "api body", "HEAD head", "GET head", "GET body"])
def test_silence_is_told_within_seconds_at_whatever_point_it_begins(where, how, serve, caplog):
    server = serve(f"{where} {how}")
    hooks, start = dict(get_session().event_hooks), time.monotonic()
    with pytest.raises(hub.HubError) as caught:
        hub.settings_folder("a/b")
    taken = time.monotonic() - start
    assert WAIT <= taken < WAIT + 4  # the library sleeps for a second before it tries again, and finds it is over
    assert str(caught.value).startswith("a/b is not in the cache and the hub does not answer (silent for ")
    assert "\n" not in str(caught.value)
    assert "HF_HUB_DOWNLOAD_TIMEOUT=60" in str(caught.value)
    assert len(server.asked) == len(set(server.asked)), "a silent server is asked once"
    assert get_session().event_hooks == hooks
    assert all(not handler.filters for handler in logging.getLogger("huggingface_hub").handlers)


def test_a_server_that_is_slow_but_sends_is_waited_for(serve):
    serve("GET body slow")
    start = time.monotonic()
    folder = hub.settings_folder("a/b")
    assert time.monotonic() - start > 1.5 * WAIT
    assert (folder / "config.json").stat().st_size == 6000


@pytest.mark.parametrize("how", ["silent", "dribbles"])
def test_what_is_in_the_cache_needs_no_answer(serve, how):
    serve()
    folder = hub.settings_folder("a/b")
    serve(f"api head {how}")
    assert hub.settings_folder("a/b") == folder


def test_two_calls_at_once_leave_nothing_behind(serve):
    serve("api head silent")
    hooks, told = dict(get_session().event_hooks), []

    def call():
        with pytest.raises(hub.HubError, match="does not answer"):
            hub.settings_folder("a/b")
        told.append(True)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [True, True]
    assert get_session().event_hooks == hooks


@pytest.mark.parametrize(
    ("name", "seconds"), [(None, 10), ("HF_HUB_DOWNLOAD_TIMEOUT", 60), ("HF_HUB_ETAG_TIMEOUT", 45)]
)
def test_the_librarys_own_variables_make_it_wait_longer(name, seconds):
    unset = ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT")
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    code = "from tokalign_helpers.models.patience import patience; print(patience())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | ({name: str(seconds)} if name else {}),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert float(done.stdout) == seconds


def test_the_wait_is_the_longer_of_the_two(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 3)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 7)
    assert patience() == 7

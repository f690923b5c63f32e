"""A server with a thread for each request, for the examples."""

from __future__ import annotations

import contextlib
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import bottle


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _server(port: int) -> WSGIServer:
    return make_server("127.0.0.1", port, bottle.default_app(), Server, Quiet)


def serve(port: int) -> None:
    """Serves until Ctrl-C."""
    with _server(port) as server:
        print(f"http://127.0.0.1:{server.server_port}/tables; Ctrl-C ends it")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def ask_itself(*paths: str) -> None:
    """Asks for each path 40 times, from 16 threads, and prints the last answer to each."""

    def ask(path: str) -> str:
        url = f"http://127.0.0.1:{server.server_port}{path}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.read().decode()

    with _server(0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with ThreadPoolExecutor(16) as threads:
            for path in paths:
                print(list(threads.map(ask, [path] * 40))[-1])
        server.shutdown()

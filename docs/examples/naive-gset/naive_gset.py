"""A naive grow-only set mesh, as many would write it: store, acknowledge, tell each peer once.

    python3 naive_gset.py CONFIG

An add is durable here (SQLite, one synced transaction a request) before it is acknowledged, and is POSTed to every
peer: one thread and one small queue a peer, a short timeout, no retry, no anti-entropy.  What a peer does not take
at that moment it never gets.  That is the bug this subject is for; in all else it keeps to docs/node-contract.md.
"""

import hashlib
import hmac
import http.client
import json
import queue
import signal
import socketserver
import sqlite3
import sys
import threading
import time
import tomllib
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote

BODY_BYTES_MAX = 1 << 20
THREADS_MAX = 32  # requests in progress, on each of the two addresses
QUEUE_MAX = 16  # what waits to be told to one peer; the next is dropped
PEER_TIMEOUT_S = 0.5
CLIENT_TIMEOUT_S = 5.0
DRAIN_S = 3.0


class Refused(Exception):
    """A request or a start that is refused: its status or exit code, and one line."""


def need(holds, code, reason):
    """Refuse unless it holds."""
    if not holds:
        raise Refused(code, reason)


class Node:
    """The set on disk, and the way to the peers."""

    def __init__(self, network, agent, token, folder, peers):
        self.network, self.agent, self.secret, self.state = network, agent, f"Bearer {token}".encode(), "serving"
        self.lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(folder / "gset.db", timeout=1.0, check_same_thread=False)
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL"):
            self.db.execute(f"PRAGMA {pragma}")
        self.db.execute("CREATE TABLE IF NOT EXISTS adds (object TEXT, element TEXT, PRIMARY KEY (object, element))")
        self.links = [Link(*peer) for peer in peers]
        for link in self.links:
            threading.Thread(target=link.tell_all, daemon=True).start()

    def store(self, operations, ours):
        """All durably or none, names and elements as JSON text; what was asked of us is then told to the peers."""
        with self.lock, self.db:
            need(self.state == "serving" or not ours, 503, "draining")
            rows = [(json.dumps(one["object"]), json.dumps(one["value"])) for one in operations]
            self.db.executemany("INSERT OR IGNORE INTO adds VALUES (?, ?)", rows)
        for link in self.links if ours else ():
            with suppress(queue.Full):  # naive: that peer will never hear of it
                link.waiting.put_nowait(json.dumps({"network": self.network, "operations": operations}))

    def rows(self):
        """Every (object, element), in order: the database is all the state there is."""
        with self.lock:
            return self.db.execute("SELECT object, element FROM adds ORDER BY object, element").fetchall()


class Link:
    """The way to one peer: what it is to be told, and whether it took the last of it."""

    def __init__(self, agent, address):
        self.agent, self.address, self.waiting = agent, address, queue.Queue(QUEUE_MAX)
        self.took, self.round_trip_ns = False, None

    def tell_all(self):
        """Tell the peer each thing once."""
        while True:
            body, begun = self.waiting.get(), time.monotonic_ns()
            connection = http.client.HTTPConnection(*self.address, timeout=PEER_TIMEOUT_S)
            try:
                connection.request("POST", "/operations", body)
                connection.getresponse().read()
                self.took, self.round_trip_ns = True, time.monotonic_ns() - begun
            except (OSError, http.client.HTTPException):  # naive: it was told, and that is that
                self.took = False
            connection.close()
            self.waiting.task_done()

    def status(self):
        """What the harness asks of a link, to prove that a fault on it bit."""
        return {"agent": self.agent, "connected": self.took, "round_trip_ns": self.round_trip_ns}


class Handler(BaseHTTPRequestHandler):
    """One request a connection, answered by `route(path, query, body)`; errors are JSON too."""

    protocol_version, timeout = "HTTP/1.1", CLIENT_TIMEOUT_S

    def handle_request(self):
        """Read all, then decide: to close on unread data would take the answer back."""
        try:
            length = self.headers.get("Content-Length", "0")
            need(length.isascii() and length.isdigit() and len(length) < 16, 400, "Content-Length: not a number")
            body = self.rfile.read(min(int(length), 4 * BODY_BYTES_MAX))
            need(int(length) <= BODY_BYTES_MAX, 413, f"a body has at most {BODY_BYTES_MAX} bytes")
            path, _, query = self.path.partition("?")
            status, answer = 200, self.route(path, query, body)
        except Refused as refused:
            status, answer = refused.args[0], {"error": refused.args[1]}
        except sqlite3.Error as error:
            print(f"naive-gset: {self.command} {self.path!r}: {error}", file=sys.stderr)
            status, answer = 500, {"error": f"the database: {error}"}
        self.answer(status, answer)

    do_GET = do_POST = handle_request  # noqa: N815

    def answer(self, status, value):
        """Send JSON, and say that the connection ends here."""
        data = json.dumps(value).encode()
        self.send_response(status)
        for header in (("Content-Type", "application/json"), ("Content-Length", len(data)), ("Connection", "close")):
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(data)

    def send_error(self, code, message=None, explain=None):
        """What http.server itself refuses."""
        self.answer(501 if code == 501 else 400, {"error": message or "malformed"})

    def log_message(self, *_):
        """Nothing: a line a request would drown the errors."""


class Control(Handler):
    """The control API: what the contract requires, and nothing that it leaves open."""

    def route(self, path, query, body):
        """Answer the harness."""
        node = self.server.node
        given = self.headers.get("Authorization", "").encode()
        need(hmac.compare_digest(given, node.secret), 401, "wants Authorization: Bearer <token>")
        match self.command, path.split("/"):
            case "POST", ["", "operations"]:
                operations = read(body)["operations"]
                node.store(operations, ours=True)
                return {"resolved": [{} for _ in operations]}
            case "GET", ["", "objects", name]:
                kind = parse_qs(query).get("type")
                need(kind == ["gset"], 501 if kind else 400, "wants ?type=gset")
                wanted = json.dumps(unquote(name))
                return {"value": [json.loads(element) for of, element in node.rows() if of == wanted]}
            case "GET", ["", "digest"]:
                digest = hashlib.sha256(json.dumps(node.rows()).encode()).hexdigest()
                return {"root": digest, "digest": digest}
            case "GET", ["", "status"]:
                peers = [link.status() for link in node.links]
                return {"agent": node.agent, "state": node.state, "peers": peers}
        raise Refused(404, "there is no such thing here")


class FromPeer(Handler):
    """What peers may ask; whoever reaches this address is believed."""

    def route(self, path, query, body):
        """Store, and tell nobody."""
        need((self.command, path) == ("POST", "/operations"), 404, "there is only POST /operations")
        told = read(body)
        need(told.get("network") == self.server.node.network, 409, "of another network")
        self.server.node.store(told["operations"], ours=False)
        return {}


class Server(ThreadingHTTPServer):
    """A thread a request, at most THREADS_MAX; further connections wait to be accepted."""

    daemon_threads, request_queue_size, allow_reuse_port = True, 128, False
    server_bind = socketserver.TCPServer.server_bind  # HTTPServer's asks the resolver for its own name

    def __init__(self, address, handler, node):
        super().__init__(address, handler)
        self.node, self.slots = node, threading.Semaphore(THREADS_MAX)
        threading.Thread(target=self.serve_forever, args=[0.1], daemon=True).start()

    def process_request(self, *connection):
        """Start a thread once there is a slot."""
        self.slots.acquire()
        super().process_request(*connection)

    def shutdown_request(self, request):
        """Give the slot back: whatever became of a request, it ends here."""
        super().shutdown_request(request)
        self.slots.release()


def read(body):
    """The request in a body, each of its operations an add that a gset can take."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    need(isinstance(asked, dict), 400, "the body is not a JSON object")
    need(asked.get("level", "local") == "local", 501, "level: there is only local")
    operations = asked.get("operations")
    need(operations and isinstance(operations, list), 400, "operations: a list of at least one")
    for one in operations:
        need(isinstance(one, dict) and isinstance(one.get("type"), str), 400, "operations: objects, each with its type")
        need(one["type"] == "gset", 501, "type: there is only gset")
        need(one.get("action") == "add", 400, "action: a gset has only add")
        need(one.get("object") and isinstance(one["object"], str), 400, "object: a name")
        need(type(one.get("value")) in (int, str), 400, "value: an integer or a string")
    return asked


def pair(address):
    """HOST:PORT in two."""
    host, _, port = address.rpartition(":")
    return host, int(port)


def start(path):
    """The node of a configuration file, and its two servers."""
    try:
        config = tomllib.loads(path.read_text())
        need(config.get("transport", "tcp") == "tcp", 64, f'{path}: transport: there is only "tcp"')
        token, folder = (path.parent / config["token"]).read_text().strip(), path.parent / config["data"]
        need(token, 64, f"{path}: token: the file is empty")
        addresses = [(pair(config["listen"]), FromPeer), (pair(config["control"]), Control)]
        peers = [(peer["agent"], pair(peer["address"])) for peer in config.get("peers", [])]
        who = config["network"], config["agent"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Refused(64, f"{path}: {type(error).__name__}: {error}") from None
    try:
        node = Node(*who, token, folder, peers)
    except (OSError, sqlite3.Error) as error:
        raise Refused(65, f"{folder}: {error}") from None
    try:
        return node, [Server(address, handler, node) for address, handler in addresses]
    except (OSError, OverflowError) as error:
        raise Refused(69, f"{config['listen']} or {config['control']} cannot be had: {error}") from None


def main(arguments):
    """Serve until SIGTERM, finish what is begun, and return the exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        need(len(arguments) == 1, 64, "usage: naive_gset.py CONFIG")
        node, servers = start(Path(arguments[0]))
    except Refused as refused:
        print(f"naive-gset: {refused.args[1]}", file=sys.stderr)
        return refused.args[0]
    signal.sigwait({signal.SIGTERM})
    with node.lock:
        node.state = "draining"
    deadline = time.monotonic() + DRAIN_S
    while any(link.waiting.unfinished_tasks for link in node.links) and time.monotonic() < deadline:
        time.sleep(0.02)
    for server in servers:
        server.shutdown()
        for _ in range(THREADS_MAX):  # wait for the answers, but for no slow client's sake too long
            server.slots.acquire(timeout=max(0.0, deadline + DRAIN_S - time.monotonic()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

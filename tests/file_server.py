"""A web server on the loopback address that serves one file, as well or as badly as a test asks it to."""

import hashlib
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Service:
    """What is served, and how; a test changes it while the server runs.

    The lists are used up, one entry a request: `cuts` how many bytes of the body go out before the connection is cut
    (None: all of them), `statuses` what is answered instead of the file (None: the file). `asked` records the headers
    of every request.
    """

    data: bytes
    knows_ranges: bool = True
    etag: str | None = None  # by default made from the data
    last_modified: str | None = None
    heeds_if_range: bool = True
    is_chunked: bool = False
    shift: int = 0  # by how many bytes a part is off what was asked for
    longest_part: int | None = None
    encoding: str | None = None
    stall: float = 0.0  # seconds before each cut
    cuts: list = field(default_factory=list)
    statuses: list = field(default_factory=list)
    asked: list = field(default_factory=list)
    url: str = ""

    def validators(self):
        tag = f'"{hashlib.md5(self.data).hexdigest()}"' if self.etag is None else self.etag
        return {name: value for name, value in (("ETag", tag), ("Last-Modified", self.last_modified)) if value}

    @property
    def ranges(self):
        """The Range header of each request so far."""
        return [headers.get("Range") for headers in self.asked]


@contextmanager
def serving(data, **settings):
    """Run a server for the block; gives its `Service`."""
    service = Service(data, **settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            service.asked.append(dict(self.headers))
            answer(service, self)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_port}/files/set.zip"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(service, handler):
    """Answer one request for the file, by the rules for ranges of RFC 9110 section 14.2."""
    status = service.statuses.pop(0) if service.statuses else None
    if status is not None:
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    data, validators = service.data, service.validators()
    wanted, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
    holds = not service.heeds_if_range or condition is None or condition in validators.values()
    body, extra, code = data, {}, 200
    if wanted and service.knows_ranges and holds:
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        code, body, extra = 416, b"", {"Content-Range": f"bytes */{len(data)}"}
        if start < len(data):
            code = 206
            start += service.shift
            end = len(data) if service.longest_part is None else min(len(data), start + service.longest_part)
            extra = {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
            body = data[start:end]
    handler.send_response(code)
    for name, value in (validators | extra).items():
        handler.send_header(name, value)
    if service.encoding:
        handler.send_header("Content-Encoding", service.encoding)
    handler.send_header(*(("Transfer-Encoding", "chunked") if service.is_chunked else ("Content-Length", len(body))))
    handler.end_headers()
    cut = service.cuts.pop(0) if service.cuts else None
    sent = body if cut is None else body[:cut]
    if service.is_chunked:
        for start in range(0, len(sent), 5000):
            piece = sent[start : start + 5000]
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if cut is None:
            handler.wfile.write(b"0\r\n\r\n")
    else:
        handler.wfile.write(sent)
    if cut is not None:
        handler.wfile.flush()
        time.sleep(service.stall)
        handler.close_connection = True

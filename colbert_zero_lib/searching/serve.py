"""An index behind a page and a JSON endpoint on this machine's loopback address; nothing else is answered.

Only other programs of this machine reach it. Which page is shown is ``page``'s business.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

from colbert_zero_lib.errors import ColbertZeroError, ParameterError

from .index import SearchIndex
from .matches import Look, look_beside
from .page import POLICY, page

ADDRESS = "127.0.0.1"
MOST_SIGNS, MOST_RESULTS, MOST_WAITING = 2_000, 100, 16
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "colbert-zero",
}


class _Search(RequestHandler):
    """``/`` answers ``?q=`` with the page, ``/search.json?q=&k=`` with JSON."""

    def initialize(self, index: SearchIndex, pool: ThreadPoolExecutor, waiting: set[object]) -> None:
        self.index, self.pool, self.waiting = index, pool, waiting

    def set_default_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        # A page elsewhere, whose name its owner points at this address, has another host in its requests.
        if self.request.host_name not in (ADDRESS, "localhost"):
            raise HTTPError(403, reason="Only 127.0.0.1 and localhost are answered")

    async def get(self) -> None:
        query, most = self.get_query_argument("q", "").strip(), self.get_query_argument("k", "10")
        if len(query) > MOST_SIGNS:
            raise HTTPError(400, reason=f"A query has at most {MOST_SIGNS} signs")
        if not re.fullmatch("[0-9]{1,4}", most) or not 1 <= int(most) <= MOST_RESULTS:
            raise HTTPError(400, reason=f"k is from 1 to {MOST_RESULTS}")
        if len(self.waiting) >= MOST_WAITING:
            raise HTTPError(503, reason=f"{MOST_WAITING} queries are waiting already")
        self.waiting.add(self)
        try:
            work = partial(look_beside, {self.index.settings["model"]: self.index}, query, int(most))
            found = await asyncio.get_running_loop().run_in_executor(self.pool, work)
        finally:
            self.waiting.discard(self)
        if self.request.path == "/":
            self.write(page(query, found, form=True))
        else:
            [looks] = found.values()
            self.write({"query": query, "results": [_result(each) for each in looks]})

    def write_error(self, status_code: int, **more: Any) -> None:
        error = (more.get("exc_info") or (None, None))[1]
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(str(error) if isinstance(error, ColbertZeroError) else f"{status_code} {self._reason}")


def _result(look: Look) -> dict[str, Any]:
    hit = look.hit
    return {
        "id": hit.document.id,
        "score": hit.score,
        "text": hit.text,
        "span": hit.span,
        "passage": hit.passage,
        "passages": hit.passages,
        "matches": [match._asdict() for match in look.matches],
    }


async def serve(
    index: SearchIndex, port: int = 8321, ready: Callable[[int], None] = lambda port: None
) -> None:
    """Answer until cancelled, one query at a time; ``ready`` gets the port, a free one where 0 was asked for.

    ParameterError where the port is taken.
    """
    try:
        sockets = bind_sockets(port, address=ADDRESS)
    except OSError as error:
        raise ParameterError(f"Port {port} cannot be had ({error.strerror}): name another one.") from None
    with ThreadPoolExecutor(1) as pool:
        more = {"index": index, "pool": pool, "waiting": set()}
        application = Application([(r"/(?:search\.json)?", _Search, more)], log_function=lambda handler: None)
        server = HTTPServer(application, max_header_size=16_384, max_body_size=0, idle_connection_timeout=60)
        server.add_sockets(sockets)
        try:
            ready(sockets[0].getsockname()[1])
            await asyncio.Event().wait()
        finally:
            server.stop()

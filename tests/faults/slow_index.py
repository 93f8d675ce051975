"""A package index on the loopback address that hands files out a piece at a time; ``slow_index.py FOLDER``."""

from __future__ import annotations

import http.server
import sys
import time
from functools import partial
from typing import Any


class _Slow(http.server.SimpleHTTPRequestHandler):
    """Files a piece at a time, so that a fetch takes a moment."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        while block := source.read(1 << 16):
            outputfile.write(block)
            time.sleep(0.02)

    def log_message(self, *_: Any) -> None:
        """Nobody asks."""


def main(folder: str) -> None:
    """Serve ``folder`` and print the address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Slow, directory=folder))
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])

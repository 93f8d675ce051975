"""Every figure of the suite as a function that returns a matplotlib Figure; `save` writes one to ``figures/``.

What is drawn is measured elsewhere; no figure reads a file.
"""

from __future__ import annotations

from .tables import data_table
from .theme import canvas, save

__all__ = ["canvas", "data_table", "save"]

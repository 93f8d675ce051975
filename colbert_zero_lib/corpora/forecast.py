"""What a profile's data will take, before the first byte: rows, batches, download and disk.

Numbers of the hub are those its pages state; time is not forecast here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_zero_lib.corpora.hub import published_rows
from colbert_zero_lib.corpora.sources import open_source
from colbert_zero_lib.recipes import Interaction, Phase

if TYPE_CHECKING:
    from colbert_zero_lib.profiles import Profile

# (download, disk) in bytes of whole phases. The first two are stated by the data sets' pages. The lists, queries and
# passages of the third are estimated from lightonai/ms-marco-en-bge, which has the same passages.
HUB_BYTES = {
    Phase.UNSUPERVISED: (260_607_608_502, 482_138_856_723),
    Phase.SUPERVISED: (29_325_347_390, 57_826_178_362),
    Phase.DISTILLATION: (270_000_000, 420_000_000),
}
# Queries and passages of MS MARCO, which a sample of lists needs as well.
PASSAGE_BYTES = (1_670_000_000, 3_200_000_000)


@dataclass(frozen=True)
class PhaseForecast:
    """One phase: ``rows`` by data set, and what bringing them takes in bytes.

    ``batches`` counts whole batches of one data set, the last partial one dropped: the optimiser steps of an epoch.
    """

    phase: Phase
    batch_size: int
    rows: Mapping[str, int]
    download: int
    disk: int

    @property
    def total(self) -> int:
        """Rows of all data sets."""
        return sum(self.rows.values())

    @property
    def batches(self) -> int:
        """Optimiser steps of one epoch."""
        return sum(rows // self.batch_size for rows in self.rows.values())

    @property
    def never_drawn(self) -> dict[str, int]:
        """Data sets with fewer rows than a batch."""
        return {name: rows for name, rows in self.rows.items() if rows < self.batch_size}


def forecast(profile: Profile, home: Path) -> tuple[PhaseForecast, ...]:
    """What each phase of a profile will take; the hub is not asked.

    A sample's bytes are its share of the whole. What is brought already is counted too. A folder's rows are read and
    checked, and take no download; a phase without files has no rows.
    """
    source = open_source(profile, home, progress=False)
    found = []
    for phase in Phase:
        rows = source.rows(phase)
        download, disk = _bytes(phase, rows) if profile.source == "hub" else (0, 0)
        size = profile.budgets[(phase, Interaction.COLBERT)].batch_size
        found.append(PhaseForecast(phase, size, rows, download, disk))
    return tuple(found)


def _bytes(phase: Phase, rows: Mapping[str, int]) -> tuple[int, int]:
    share = sum(rows.values()) / sum(published_rows()[phase].values())
    download, disk = (round(share * size) for size in HUB_BYTES[phase])
    if phase is Phase.DISTILLATION:
        return download + PASSAGE_BYTES[0], disk + PASSAGE_BYTES[1]
    return download, disk

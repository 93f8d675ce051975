"""An index of a reader's documents: built, added to, deleted from and searched; a kill at any moment loses nothing.

Its list (``state``) names the segments that count and is replaced as a whole; a segment is written before it is
named and removed after it is not. One process changes an index at a time, any number search it meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from colbert_zero_lib.errors import DataError, ParameterError
from colbert_zero_lib.evaluation.choice import measured_costs
from colbert_zero_lib.evaluation.encode import token_vectors
from colbert_zero_lib.hub import COMMIT
from colbert_zero_lib.keeping import flush_folder, remove

from .documents import Cutter, Document, Span, in_parts, named_once, passages_of
from .hits import Hit, best_documents
from .segments import EXACT, PLAID, Segment, mark_of, write_segment
from .state import read_state, seen, write_state

if TYPE_CHECKING:
    from pylate.models import ColBERT

    from colbert_zero_lib.evaluation.subjects import Subject

KINDS = ("auto", EXACT, PLAID)
_SEGMENTS = "segments"
_TOKENS = 1 << 19  # of a segment as it is written first
_MANY = 8  # small segments that are put together
_SMALLEST_PLAID = 128  # passages


class Changes(NamedTuple):
    """How many documents an addition brought, put in place of others, and found as they were."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0


class SearchIndex:
    """An index in a folder, opened for one ColBERT model.

    A document's score is that of its best passage (MaxP). An exact segment scores every passage with vectors rounded to
    float16; a PLAID segment approximates. DataError where the folder holds no index or a damaged one.
    """

    def __init__(self, folder: Path, subject: Subject | None = None) -> None:
        self.folder = Path(folder)
        self.settings, self._dead, self._seen = read_state(self.folder)
        self._given = subject
        if subject and subject.identity != self.settings["identity"]:
            raise ParameterError(
                f"{folder} was built with {self.settings['model']} ({self.settings['identity'][:12]}), and "
                f"{subject.name} ({subject.identity[:12]}) is another model: build an index with it, or leave it out."
            )
        self._opened: dict[str, Segment] = {}

    @classmethod
    def create(
        cls, folder: Path, word: str, subject: Subject, kind: str = "auto", overlap: int | None = None
    ) -> SearchIndex:
        """An empty index in ``folder``, new or empty, for the model that ``word`` names.

        A model's folder is named as a whole, or as seen from the index, so that both can be moved together.
        ``kind``: ``exact``, ``plaid``, or ``auto``, which takes PLAID from that number of passages on at which its
        look-ups were measured to be faster (the benchmark ``search``). ParameterError for an unknown kind or a model
        that is no ColBERT.
        """
        from pylate.models import ColBERT

        from colbert_zero_lib.training.devices import native_precision

        if kind not in KINDS:
            raise ParameterError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}.")
        if subject.open is None or not isinstance(subject.model, ColBERT):
            raise ParameterError(
                f"{subject.name} is no ColBERT model: an index needs one with token vectors."
            )
        if folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise ParameterError(f"{folder} holds something already: name a new folder.")
        precision = native_precision(str(subject.model.device))
        settings = {
            "model": word,
            "identity": subject.identity,
            "kind": kind,
            "overlap": Cutter(subject.model, overlap).overlap,
            "precision": precision,
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_state(folder, settings, {})
        return cls(folder, subject)

    def _read(self) -> None:
        settings, self._dead, self._seen = read_state(self.folder)
        if settings != self.settings:
            raise DataError(f"{self.folder} was built anew since it was opened: open it again.")

    @cached_property
    def subject(self) -> Subject:
        """The model; ParameterError where it is no longer the one that the index was built with."""
        from colbert_zero_lib.evaluation.subjects import find_subject
        from colbert_zero_lib.home import home

        if self._given is None:
            word, identity = self.settings["model"], self.settings["identity"]
            near = self.folder / word
            if near.is_dir():
                word = str(near)
            elif COMMIT.fullmatch(identity):  # of the hub, where a branch goes on
                word = f"{word.partition('@')[0]}@{identity}"
            found = find_subject(word, home())
            if found.identity != identity:
                raise ParameterError(
                    f"{word} has changed since {self.folder} was built: build the index again."
                )
            return found
        return self._given

    @property
    def model(self) -> ColBERT:
        """The model itself."""
        return self.subject.model  # type: ignore[return-value]

    def _encode(self, texts: Sequence[str], is_query: bool) -> list[np.ndarray]:
        return token_vectors(self.model, texts, is_query, self.settings["precision"])

    def segments(self) -> dict[str, tuple[Segment, set[int]]]:
        """The segments by name, each with the numbers of its documents that no longer count."""
        while True:
            if seen(self.folder) != self._seen:
                self._read()
            try:
                self._opened = {name: self._segment(name) for name in self._dead}
                return {name: (segment, self._dead[name]) for name, segment in self._opened.items()}
            except (FileNotFoundError, DataError) as error:
                if seen(self.folder) != self._seen:  # put together with others by another process meanwhile
                    continue
                if isinstance(error, DataError):
                    raise
                raise DataError(f"{error} is gone: remove the index and build it again.") from None

    def _segment(self, name: str) -> Segment:
        """The segment of that name; another one may have got the name of one that was removed."""
        place, opened = self._place(name), self._opened.get(name)
        return opened if opened and opened.mark == mark_of(place) else Segment(place)

    def _place(self, name: str) -> Path:
        return self.folder / _SEGMENTS / name

    def __len__(self) -> int:
        return sum(len(segment) - len(dead) for segment, dead in self.segments().values())

    def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        """The ``k`` best documents of each query, best first; equal scores by the documents' names."""
        vectors, device = self._encode(queries, True), str(self.model.device)
        while True:
            segments = self.segments().values()
            try:
                found = [best_documents(*segment, vectors, k, device) for segment in segments]
                break
            except FileNotFoundError:
                if seen(self.folder) == self._seen:
                    raise
        return [
            sorted(chain.from_iterable(hits), key=lambda hit: (-hit.score, hit.document.id))[:k]
            for hits in (zip(*found, strict=True) if found else [()] * len(queries))
        ]

    def add(
        self, documents: Iterable[Document], say: Callable[[str], None] = lambda sentence: None
    ) -> Changes:
        """Add documents, in place of those of the same name; what is there as it is, is passed over.

        What an addition that was stopped had added so far stays, and the same addition goes on from there.
        """
        counts = Changes()
        with self._changing():
            known = self._known()
            stream = named_once(documents)
            for part, spans in in_parts(stream, Cutter(self.model, self.settings["overlap"]), _TOKENS):
                now = self.segments()
                before = [known.get(document.id) for document in part]
                fresh = [
                    number
                    for number, (document, at) in enumerate(zip(part, before, strict=True))
                    if at is None or now[at[0]][0].document_at(at[1]) != document
                ]
                replaced = [at for number in fresh if (at := before[number]) is not None]
                for name, number in replaced:
                    self._dead[name].add(number)
                if fresh:
                    chosen, cut = [part[number] for number in fresh], [spans[number] for number in fresh]
                    vectors = self._encode(passages_of(chosen, cut), False)
                    name = self._write(chosen, cut, vectors, EXACT)
                    known |= {document.id: (name, number) for number, document in enumerate(chosen)}
                    self._commit()
                more = (len(fresh) - len(replaced), len(replaced), len(part) - len(fresh))
                counts = Changes(*map(sum, zip(counts, more, strict=True)))
                say(f"{sum(counts):,} documents: {counts.added:,} new, {counts.replaced:,} replaced")
            self._tidy()
        return counts

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents by their names; DataError, before anything is deleted, where one is not there."""
        with self._changing():
            known, wanted = self._known(), dict.fromkeys(ids)
            if missing := next((name for name in wanted if name not in known), None):
                raise DataError(f"{self.folder} has no document {missing!r}: nothing was deleted.")
            for name, number in map(known.__getitem__, wanted):
                self._dead[name].add(number)
            self._commit()
            self._tidy()
        return len(wanted)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        from filelock import FileLock

        with FileLock(self.folder / ".lock"):
            (self.folder / _SEGMENTS).mkdir(exist_ok=True)
            self._read()
            self._clear()
            try:
                yield
            except BaseException:
                self._read()  # what was not written does not count here either
                raise

    def _known(self) -> dict[str, tuple[str, int]]:
        """Where each document is: segment and number."""
        return {
            document: (name, number)
            for name, (segment, dead) in self.segments().items()
            for number, document in enumerate(segment.ids)
            if number not in dead
        }

    def _write(
        self,
        documents: Sequence[Document],
        spans: Sequence[Sequence[Span]],
        vectors: Sequence[np.ndarray],
        kind: str,
    ) -> str:
        names = [int(path.name) for path in (self.folder / _SEGMENTS).iterdir() if path.name.isdecimal()]
        name = f"{max(names, default=0) + 1:06}"
        write_segment(self._place(name), documents, spans, vectors, kind)
        flush_folder(self.folder / _SEGMENTS)
        self._dead[name] = set()
        return name

    def _commit(self) -> None:
        """Make what this process has the index's state."""
        write_state(self.folder, self.settings, self._dead)
        flush_folder(self.folder)
        self._seen = seen(self.folder)
        self._clear()

    def _clear(self) -> None:
        """Remove what the state does not name: segments that were put together, and what a killed process left."""
        for path in (self.folder / _SEGMENTS).iterdir():
            if path.name not in self._dead:
                with suppress(OSError):  # Windows keeps what another process has open
                    remove(path)

    def _tidy(self) -> None:
        """Put small segments together, leave deleted documents out for good, and build PLAID where it pays."""
        now = self.segments()
        total = sum(len(segment.document) for segment, _ in now.values())
        exact = {name for name, (segment, _) in now.items() if segment.kind == EXACT}
        waiting = sum(len(now[name][0].document) for name in exact)
        if self._wants_plaid(total) and waiting >= max(_SMALLEST_PLAID, total // 5):
            self._together(sorted(exact), PLAID)
            return
        small = {name for name in exact if now[name][0].tokens < _TOKENS // 2}
        emptied = {name for name, (segment, dead) in now.items() if 2 * len(dead) > len(segment)}
        if len(small) > _MANY or emptied:
            for kind, names in ((PLAID, emptied - exact), (EXACT, (emptied & exact) | small)):
                if names:
                    self._together(sorted(names), kind)

    def _wants_plaid(self, passages: int) -> bool:
        if self.settings["kind"] != "auto":
            return bool(self.settings["kind"] == PLAID)
        try:
            costs = measured_costs()
        except DataError:
            return False
        return self.model.device.type == "cpu" and costs.exact_pair * passages > costs.index_query

    def _together(self, names: Sequence[str], kind: str) -> None:
        """One segment of what counts of some, of vectors that are there or, of PLAID, of texts encoded again."""
        documents: list[Document] = []
        spans: list[list[Span]] = []
        vectors: list[np.ndarray] = []
        now = self.segments()
        for name in names:
            segment, dead = now[name]
            rows = _rows_by_document(segment)
            alive = [number for number in range(len(rows)) if number not in dead]
            some = [segment.document_at(number) for number in alive]
            cuts = [[(int(a), int(b)) for a, b in segment.span[rows[number]]] for number in alive]
            if segment.kind == EXACT:
                vectors += [segment.vectors_of(row) for number in alive for row in rows[number]]
            else:
                vectors += self._encode(passages_of(some, cuts), False)
            documents += some
            spans += cuts
        if documents:
            self._write(documents, spans, vectors, kind if len(vectors) >= _SMALLEST_PLAID else EXACT)
        for name in names:
            del self._dead[name]
        self._commit()


def _rows_by_document(segment: Segment) -> list[np.ndarray]:
    """Of each document its passages' rows, in the order of the text."""
    order = np.lexsort((segment.span[:, 0], segment.document))
    ends = np.cumsum(np.bincount(segment.document))
    return np.split(order, ends[:-1])

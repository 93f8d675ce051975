"""What can be evaluated: a run, a checkpoint in a folder or on the hub, or BM25; and how it searches a collection.

A subject is told by what it is (digest, commit, hash of its files), never by what it is called. Keeping results is
``sessions``' business.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbert_zero_lib.checkpoint import Checkpoint, find_checkpoint, opening
from colbert_zero_lib.corpora.evaluation_sets import DOCUMENT_LENGTH, SETS
from colbert_zero_lib.errors import CheckpointError, ParameterError, RunError
from colbert_zero_lib.reading import existing
from colbert_zero_lib.recipes import Interaction

from .baselines import bm25_settings
from .bm25 import BM25
from .choice import choose_search

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from colbert_zero_lib.corpora import Collection
    from colbert_zero_lib.runs import Run

    from .ranking import Retriever

_HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
BM25_NAME = "bm25"
SEARCHES = ("auto", "exact", "index")


@dataclass(frozen=True)
class SearchOptions:
    """How models search; None leaves it to what is stored with the model and to the collection.

    ``search``: ``exact``, ``index`` (PLAID) or ``auto``, the cheaper of the two. ``precision``: ``float32`` or
    ``bfloat16``, by default the one that is native. ``query_length``, ``document_length``: tokens, markers and prompt
    included. ``vectors``: a folder that keeps document vectors for the next time. ParameterError for an unknown search
    or a length below 4 tokens.
    """

    search: str = "auto"
    precision: str | None = None
    query_length: int | None = None
    document_length: int | None = None
    query_expansion: bool | None = None
    vectors: Path | None = None

    def __post_init__(self) -> None:
        if self.search not in SEARCHES:
            raise ParameterError(f"search must be one of {', '.join(SEARCHES)}, not {self.search!r}.")
        for name in ("query_length", "document_length"):
            value = getattr(self, name)
            if value is not None and value < 4:
                raise ParameterError(f"{name} must be at least 4 tokens, not {value}.")


@dataclass(frozen=True, eq=False)
class Subject:
    """Something to evaluate: ``name`` is what people call it, ``identity`` what it is.

    ``open`` gives its model, with the lengths and prompts of its own; None for BM25. ``says_lengths`` is False where
    its files say none.
    """

    name: str
    identity: str
    open: Callable[[], SentenceTransformer] | None
    says_lengths: bool = True

    @cached_property
    def model(self) -> SentenceTransformer:
        """The model, opened on first use."""
        assert self.open is not None
        return self.open()

    def retriever(self, collection: Collection, options: SearchOptions) -> tuple[Retriever, dict[str, Any]]:
        """What searches ``collection``, and every setting that changes its result.

        Lengths: those of ``options``, else the model's own. On a set of BEIR queries get at least the set's length and
        the prompt's tokens on top, and documents of a model that says no length are cut where PyLate cuts them.
        """
        if self.open is None:
            return BM25(), bm25_settings()
        from pylate.models import ColBERT

        from colbert_zero_lib.training.devices import native_precision

        from .dense import DenseRetriever
        from .late_interaction import LateInteractionRetriever
        from .plaid import PlaidRetriever
        from .vectors import VectorStore

        model = self.model
        precision = options.precision or native_precision(str(model.device))
        settings: dict[str, Any] = {"precision": precision, "prompts": dict(model.prompts or {})}
        if isinstance(model, ColBERT):
            query, document = self._lengths(collection, options)
            if options.query_expansion is not None:
                model.do_query_expansion = options.query_expansion
            model.query_length, model.document_length = query, document
            search = choose_search(model, collection) if options.search == "auto" else options.search
            settings |= {
                "lengths": [query, document],
                "expansion": model.do_query_expansion,
                "search": search,
            }
            if search == "index":
                return PlaidRetriever(model, precision), settings
            store = VectorStore(options.vectors) if options.vectors else None
            return LateInteractionRetriever(model, precision, store=store), settings
        given = [n for n in (options.query_length, options.document_length) if n is not None]
        if given:
            model.max_seq_length = max(given)
        return DenseRetriever(model, precision=precision), settings | {"length": model.max_seq_length}

    @cached_property
    def _own_lengths(self) -> tuple[int, int]:
        model: Any = self.model
        return model.query_length, model.document_length

    def _lengths(self, collection: Collection, options: SearchOptions) -> tuple[int, int]:
        from colbert_zero_lib.prompts import prompt_tokens

        query, document = self._own_lengths
        known = SETS.get(collection.name)
        if known is not None and known.query_length is not None:
            prompt = (self.model.prompts or {}).get("query") or ""
            query = max(query, known.query_length + prompt_tokens(self.model.tokenizer, prompt))
            document = document if self.says_lengths else max(document, DOCUMENT_LENGTH)
        return options.query_length or query, options.document_length or document


def find_subject(word: str, home: Path, device: str | None = None) -> Subject:
    """``bm25``, a folder (of a model or a run), a hub id (``owner/name`` or ``owner/name@revision``), or a run's name.

    Runs are named as ``colbert-zero show`` takes them. UnknownNameError, CheckpointError or HubError in one sentence.
    """
    from colbert_zero_lib.runs import Ledger, Run

    if word.lower() == BM25_NAME:
        return Subject("BM25", BM25_NAME, None)
    folder = existing(word)
    if folder and (folder / "run.json").is_file():
        return _of_run(Run.read(folder), home, device)
    if folder and folder.is_dir():
        return _of_checkpoint(replace(find_checkpoint(word), name=folder.resolve().name), device)
    if named := _HUB_NAME.fullmatch(word):
        return _of_checkpoint(find_checkpoint(named[1], named[2]), device)
    return _of_run(Ledger(home / "runs").find(word), home, device)


def _of_run(run: Run, home: Path, device: str | None) -> Subject:
    for field in ("recipe", "profile"):
        if not isinstance(run.passport.get(field), str):
            raise RunError(f"The passport of {run.folder} has no text under {field!r}: run the recipe again.")

    def opened() -> SentenceTransformer:
        from colbert_zero_lib.models import quiet
        from colbert_zero_lib.profiles import get_profile
        from colbert_zero_lib.runs.workshop import Workshop
        from colbert_zero_lib.training.devices import device_of_choice

        shop = Workshop(get_profile(run.passport["profile"]), home, device or device_of_choice(), False)
        with quiet():
            return shop.open(run.checked())

    name = f"{run.passport['recipe']} ({run.passport['profile']}, seed {run.passport.get('seed')})"
    return Subject(name, run.digest, opened)


def _of_checkpoint(found: Checkpoint, device: str | None) -> Subject:
    if found.interaction is None:
        raise CheckpointError(
            f"{found.name} is a bare encoder that no phase has trained to search: evaluate a dense or ColBERT model."
        )

    def opened() -> SentenceTransformer:
        from pylate.models import ColBERT
        from sentence_transformers import SentenceTransformer

        from colbert_zero_lib.models import quiet
        from colbert_zero_lib.training.devices import device_of_choice

        where = device or device_of_choice()
        with quiet(), opening(found.name):
            if found.interaction is Interaction.DENSE:
                return SentenceTransformer(str(found.folder), device=where, local_files_only=True)
            return ColBERT(
                str(found.folder),
                device=where,
                local_files_only=True,
                do_query_expansion=bool(found.query_expansion),
            )

    return Subject(found.name, found.identity, opened, says_lengths=found.lengths is not None)

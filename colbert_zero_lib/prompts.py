"""What a model puts before its texts: a prefix as text, as tokens, as rows of the embedding, as scored positions.

Names of prefixes are in ``prefixes``; encoders are opened in ``models``, which calls this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn, cast

import torch
from tokenizers import AddedToken

from .errors import ParameterError, TrainingError
from .prefixes import SIZED_KINDS, Prefix
from .steps import Step

if TYPE_CHECKING:
    from pylate.models import ColBERT
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedTokenizerBase

SIDES = ("query", "document")
# Under this name a saved model's configuration says which token positions MaxSim leaves out.
_UNSCORED = "unscored_positions"
_WORD_STARTS = ("Ġ", "▁")  # of byte-level BPE and of SentencePiece


def prompt_tokens(tokenizer: PreTrainedTokenizerBase, prompt: str) -> int:
    """How many tokens a prompt takes from the length limit; depends on the tokenizer, 7 for the paper's prompts."""
    return len(_ids(tokenizer, prompt))


def _ids(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    return tokenizer(prompt.strip(), add_special_tokens=False)["input_ids"] if prompt else []


def prefix_tokens(
    prefix: Prefix | None, tokenizer: PreTrainedTokenizerBase, prompts: tuple[str, str]
) -> tuple[int, int]:
    """How many tokens ``prefix`` puts before a (query, document); None stands for the prompts themselves.

    Where a prefix names no number it has as many as the prompts take with this tokenizer, side by side.
    """
    if prefix is not None and prefix.tokens is not None:
        return prefix.tokens, prefix.tokens
    query, document = _by_side(prefix, prompts)
    return prompt_tokens(tokenizer, query), prompt_tokens(tokenizer, document)


def _by_side(prefix: Prefix | None, prompts: tuple[str, str]) -> tuple[str, str]:
    """The prompt whose text or length a prefix takes before a (query, document)."""
    query, document = prompts
    others = {"swapped": (document, query), "same": (query, query)}
    return others.get(prefix.kind, prompts) if prefix else prompts


def prefix_texts(step: Step, tokenizer: PreTrainedTokenizerBase, prompts: tuple[str, str]) -> tuple[str, str]:
    """What stands before a (query, document) in ``step``, as text; ``("", "")`` without prompts.

    TrainingError when the tokenizer does not give the text back as the tokens that it is meant to be.
    """
    if not step.prompts:
        return "", ""
    if step.prefix is None or step.prefix.kind not in SIZED_KINDS:
        return _by_side(step.prefix, prompts)
    counts = prefix_tokens(step.prefix, tokenizer, prompts)
    found = []
    for side, count in zip(SIDES, counts, strict=True):
        if step.prefix.kind == "random":
            text = _random_words(tokenizer, side, count, prompts)
        elif step.prefix.kind == "learned":
            text = "".join(learned_names(side, count))
        else:
            text = str(tokenizer.mask_token or "") * count
        found.append(f"{text} " if text else "")
        if prompt_tokens(tokenizer, text) != count:
            raise TrainingError(
                f"prefix={step.prefix} needs {count} tokens before a {side}, which this tokenizer cannot write;"
                " take another prefix or fewer tokens"
            )
    return found[0], found[1]


def learned_names(side: str, count: int) -> list[str]:
    """The learned tokens of a side, ``query`` or ``document``; fewer of them are the first of more."""
    return [f"[P{side[0].upper()}{place}]" for place in range(count)]


def _random_words(tokenizer: PreTrainedTokenizerBase, side: str, count: int, prompts: tuple[str, str]) -> str:
    """The first ``count`` words of a side in the order of their hashes: the same ones in every run.

    A word's hash also says to which side it belongs, so that no word stands on both, and fewer words are the first of
    more. The prompts' own words are left out.
    """
    taken = {token for prompt in prompts for token in _ids(tokenizer, prompt)}
    words: list[str] = []
    if not count:
        return ""
    for word in sorted(_whole_words(tokenizer), key=_hash):
        if (_hash(word) % 2 == 0) is not (side == "query"):
            continue
        ids = _ids(tokenizer, " ".join([*words, word]))
        if len(ids) == len(words) + 1 and ids[-1] not in taken:
            words.append(word)
            if len(words) == count:
                return " ".join(words)
    raise TrainingError(
        f"prefix=random needs {count} words before a {side} and the vocabulary has {len(words)} that fit;"
        " take fewer tokens or a larger vocabulary"
    )


def _hash(word: str) -> int:
    return int(hashlib.sha1(f"prefix:{word}".encode()).hexdigest(), 16)


def _whole_words(tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """Lower-case alphabetic tokens of three letters or more that can stand as a word of their own."""
    # How this tokenizer marks a token that begins a word within a text, if it does.
    second = tokenizer.tokenize("a a")[-1]
    mark = second[0] if second.startswith(_WORD_STARTS) else ""
    for token in tokenizer.get_vocab():
        word = token.removeprefix(mark)
        if token.startswith(mark) and len(word) > 2 and word.isascii() and word.isalpha() and word.islower():
            yield word


def prepend(model: SentenceTransformer, step: Step, prompts: tuple[str, str], seed: int) -> None:
    """Give ``model`` what ``step`` puts before texts: saved with it, and used by whatever encodes with it.

    Learned tokens that the model does not know yet get rows drawn under ``seed``, with the mean and the standard
    deviation that each dimension has over the vocabulary; those it knows keep theirs.
    """
    if step.prefix is not None and step.prefix.kind == "learned":
        counts = prefix_tokens(step.prefix, model.tokenizer, prompts)
        _learn(
            model, [name for pair in zip(SIDES, counts, strict=True) for name in learned_names(*pair)], seed
        )
    model.prompts = dict(zip(SIDES, prefix_texts(step, model.tokenizer, prompts), strict=True))
    configuration: dict[str, Any] = model._model_config
    configuration.pop(_UNSCORED, None)
    if step.prefix is not None and step.prefix.kind == "context":
        late = cast("ColBERT", model)  # a dense step has no such prefix
        ranges = {side: prefix_positions(late, side == "query") for side in SIDES}
        configuration[_UNSCORED] = {side: [found.start, found.stop] for side, found in ranges.items()}
        vars(late)["encode"] = _refuse_to_encode


def _refuse_to_encode(*arguments: Any, **options: Any) -> NoReturn:
    raise ParameterError(
        "This model's prompts are context alone, and PyLate's encode would have them scored: "
        "use colbert_zero_lib.evaluation.token_vectors."
    )


def _learn(model: SentenceTransformer, names: list[str], seed: int) -> None:
    tokenizer, encoder = model.tokenizer, cast(Any, model[0]).auto_model
    known = tokenizer.get_vocab()
    new = [name for name in names if name not in known]
    if not new:
        return
    tokenizer.add_tokens(
        [AddedToken(name, normalized=False, special=True) for name in new], special_tokens=True
    )
    weight = encoder.get_input_embeddings().weight.detach()
    mean, spread = weight.mean(dim=0).cpu(), weight.std(dim=0).cpu()
    if len(tokenizer) > len(weight):
        encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    rows = torch.randn(len(new), len(mean), generator=torch.Generator().manual_seed(seed)) * spread + mean
    with torch.no_grad():
        embeddings = encoder.get_input_embeddings().weight
        embeddings[tokenizer.convert_tokens_to_ids(new)] = rows.to(embeddings)


def prefix_positions(model: ColBERT, is_query: bool) -> slice:
    """The token positions of a late-interaction model's prompt, after ``[CLS]`` and the marker; empty without one.

    The same for every text, since tokens come first that are the same for every text. TrainingError when the prompt
    is longer than the model's limit.
    """
    prompt = model.prompts["query" if is_query else "document"]
    ids = _ids(model.tokenizer, prompt)
    if not ids:
        return slice(0, 0)
    whole = model.tokenize([prompt], is_query=is_query)["input_ids"][0].tolist()
    for start in range(len(whole) - len(ids) + 1):
        if whole[start : start + len(ids)] == ids:
            return slice(start, start + len(ids))
    raise TrainingError(
        f"the {len(ids)} tokens of the prefix {prompt.strip()!r} do not fit into {len(whole)};"
        f" raise {'query_length' if is_query else 'document_length'}"
    )


def unscored_positions(model: Any, is_query: bool) -> slice | None:
    """The positions that MaxSim leaves out whatever stands there (prefix ``context``), or None.

    Read from the model's configuration, where they stay when it is saved and loaded, by PyLate too. PyLate's own
    ``encode`` does not look at them, so that ``open_model`` has it refused: use ``evaluation.token_vectors``.
    """
    ranges = getattr(model, "_model_config", {}).get(_UNSCORED)
    return slice(*ranges["query" if is_query else "document"]) if ranges else None


def describe_prefix(model: SentenceTransformer) -> dict[str, dict[str, Any]]:
    """What stands before a query and a document: ``text``, ``tokens``, and how many of them MaxSim scores.

    PyLate does not score punctuation of documents, so that fewer may be scored there than there are.
    """
    found: dict[str, dict[str, Any]] = {}
    for side in SIDES:
        ids = _ids(model.tokenizer, model.prompts[side])
        found[side] = {"text": model.prompts[side], "tokens": len(ids)}
        if hasattr(model, "skiplist"):
            late = cast("ColBERT", model)
            skipped = set(late.skiplist) if side == "document" else set()
            unscored = unscored_positions(late, side == "query") is not None
            found[side]["scored"] = 0 if unscored else sum(token not in skipped for token in ids)
    return found

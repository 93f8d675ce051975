"""Encoders: build a small base, open it as a dense or a late-interaction model, carry weights from one to the other.

Lengths and prompts are set here, because a model must carry what it was trained with. No trainer is known here.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import cast

import torch
from pylate import models as pylate_models
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers import models as tokenizer_models
from transformers import (
    AutoTokenizer,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    set_seed,
)
from transformers.utils import logging as transformers_logging

from colbert_zero_lib.checkpoint import check_safe, opening
from colbert_zero_lib.errors import TrainingError
from colbert_zero_lib.profiles import EncoderShape, EvaluationSize, PhaseBudget
from colbert_zero_lib.prompts import prefix_tokens, prepend
from colbert_zero_lib.recipes import Interaction, Step

# Signs that a tokenizer knows, most frequent first; text with any other is [UNK].
ALPHABET = 500
MOST_TOKENS = 512  # of a text
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_tokenizer(texts: Iterable[str], vocabulary: int, min_frequency: int = 2) -> PreTrainedTokenizerFast:
    """A lower-casing WordPiece tokenizer of ``vocabulary`` entries, learned from ``texts``.

    The same texts give the same tokenizer on every machine. The trainer alone does not promise that: it numbers the
    continuations (``##a``) in the order of a randomly seeded hash table, and ties between merges go by number.
    """
    learner = _wordpiece()
    stretches = _stretches(texts, learner.normalizer)
    counts: Counter[str] = Counter()
    for stretch, times in stretches.items():
        for sign in stretch:
            counts[sign] += times
    signs = sorted(sign for sign in counts if not sign.isspace())
    signs = sorted(signs, key=lambda sign: -counts[sign])[:ALPHABET]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary,
        special_tokens=[*SPECIAL_TOKENS, *(f"##{sign}" for sign in sorted(signs))],
        initial_alphabet=signs,
        limit_alphabet=len(signs),
        min_frequency=min_frequency,
        show_progress=False,
    )
    learner.normalizer = None
    learner.train_from_iterator(_repeated(stretches), trainer)
    # Numbered first as special tokens, the continuations are ordinary pieces from here on.
    learned = _wordpiece(learner.get_vocab())
    learned.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(token, learned.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    names = {f"{token[1:-1].lower()}_token": token for token in SPECIAL_TOKENS}
    return PreTrainedTokenizerFast(tokenizer_object=learned, model_max_length=MOST_TOKENS, **names)


def _stretches(texts: Iterable[str], normalizer: normalizers.Normalizer) -> Counter[str]:
    """What lies between spaces, normalised, and how often: normalising is slow, and looks across no space."""
    counts: Counter[str] = Counter()
    for stretch, times in Counter(chain.from_iterable(re.split("[ \n]", text) for text in texts)).items():
        counts[normalizer.normalize_str(stretch)] += times
    return counts


def _repeated(counts: Counter[str]) -> Iterator[str]:
    """Texts in which each stretch comes as often as it is counted."""
    for stretch, times in counts.items():
        for start in range(0, times, 1000):
            yield f"{stretch} " * min(1000, times - start)


def _wordpiece(vocabulary: dict[str, int] | None = None) -> Tokenizer:
    tokenizer = Tokenizer(
        tokenizer_models.WordPiece(vocabulary or {}, unk_token="[UNK]", max_input_chars_per_word=64)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def build_base(tokenizer: PreTrainedTokenizerFast, shape: EncoderShape, seed: int) -> ModernBertForMaskedLM:
    """A random ModernBERT of the given shape with its masked-language-model head."""
    set_seed(seed)
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=MOST_TOKENS,
        pad_token_id=tokenizer.pad_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        attn_implementation="sdpa",
        # Logits of masked tokens alone: the others would be most of the memory and nobody looks at them.
        sparse_prediction=True,
    )
    return ModernBertForMaskedLM(config)


def step_lengths(
    step: Step,
    lengths: PhaseBudget | EvaluationSize,
    tokenizer: PreTrainedTokenizerBase,
    prompts: tuple[str, str],
) -> tuple[int, int]:
    """Maximum (query, document) tokens of a step: those given, plus the prefix's tokens when the step adds length.

    The extra length is what the prompt *would* take, whether the step has prompts or not (Tables 4 and 5: 32 -> 39).
    """
    extra = prefix_tokens(step.prefix, tokenizer, prompts) if step.extra_length else (0, 0)
    return lengths.query_length + extra[0], lengths.document_length + extra[1]


def open_model(
    folder: Path | str,
    step: Step,
    *,
    lengths: tuple[int, int],
    prompts: tuple[str, str],
    projection: int = 128,
    query_expansion: bool = False,
    seed: int = 0,
    device: str = "cpu",
) -> SentenceTransformer:
    """Open a checkpoint as the model that ``step`` trains.

    A base encoder or a dense checkpoint opened for a ColBERT step keeps its encoder and gets a fresh projection and
    fresh ``[Q]``/``[D]`` rows, as in the paper; these are drawn under ``seed``, since the trainer seeds too late for
    them.

    Parameters
    ----------
    folder
        A saved base encoder, dense model or ColBERT model.
    lengths
        Maximum (query, document) tokens, markers included.
    prompts
        The (query, document) prompts of the profile; left empty in the model when the step has none, replaced by what
        the step's prefix stands for when it has one. Tokens that an earlier step learned keep their rows.
    query_expansion
        Expand queries even if the step does not ask for it.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        raise TrainingError(f"{folder} holds no model; train the step before this one first")
    check_safe(folder, str(folder))
    set_seed(seed)
    with quiet(), opening(str(folder)):
        if step.interaction is Interaction.DENSE:
            model = _open_dense(folder, lengths, device)
        else:
            model = pylate_models.ColBERT(
                str(folder),
                device=device,
                embedding_size=projection,
                query_length=lengths[0],
                document_length=lengths[1],
                do_query_expansion=query_expansion or step.expansion,
            )
            if step.head and len(model) == 2:  # one that was trained has four
                add_head(model)
        prepend(model, step, prompts, seed)
    return model


def add_head(model: pylate_models.ColBERT) -> None:
    """Put LateOn's projection (768-1536-768-128 there) in place of the one layer of ``model``.

    Two residual layers, twice as wide and back, before the last: PyLate's own modules, all linear and without bias, so
    that they make nothing a single matrix could not; they change how it is learned.
    """
    last = cast(pylate_models.Dense, model[1])
    width, device = int(last.in_features), next(last.parameters()).device

    def layer(inner: int, outer: int) -> pylate_models.Dense:
        return pylate_models.Dense(inner, outer, bias=False, use_residual=True).to(device)

    model[1] = layer(width, 2 * width)
    model.append(layer(2 * width, width))
    model.append(last)


def open_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a model's folder; CheckpointError as from `check_safe` and `opening`."""
    check_safe(folder, str(folder))
    with opening(str(folder)):
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what transformers and PyLate remark on models that are as they should be (no pooling, new rows)."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    remarks = [logging.getLogger(name) for name in ("pylate", "sentence_transformers")]
    levels = [logger.level for logger in remarks]
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for logger in remarks:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        for logger, level in zip(remarks, levels, strict=True):
            logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _open_dense(folder: Path, lengths: tuple[int, int], device: str) -> SentenceTransformer:
    if (folder / "modules.json").is_file():
        model = SentenceTransformer(str(folder), device=device)
    else:
        encoder = Transformer(str(folder))
        pooling = Pooling(encoder.get_word_embedding_dimension(), pooling_mode="mean")
        model = SentenceTransformer(modules=[encoder, pooling, Normalize()], device=device)
    # One limit serves both sides: the longer one. Queries are cut by the collator.
    model.max_seq_length = max(lengths)
    return model


def save_model(model: SentenceTransformer, folder: Path) -> None:
    """Save a model with its tokenizer as it is between two uses: not as the last text left it."""
    tokenizer = model.tokenizer.backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if isinstance(model, pylate_models.ColBERT) and model.document_length:
        model.max_seq_length = model.document_length - 1  # its marker is added afterwards
    with quiet():
        model.save_pretrained(str(folder), create_model_card=False)


def parameters(model: torch.nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())

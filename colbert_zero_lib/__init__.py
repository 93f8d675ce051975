"""Library behind the ColBERT-Zero notebooks: recipes, offline corpora, training, evaluation and the run ledger."""

__version__ = "0.1.0"

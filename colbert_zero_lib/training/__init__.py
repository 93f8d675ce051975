"""Training: batches, losses and the trainer of each phase, for dense and late-interaction models.

Corpora come in as tables and models go out as folders; how good a model is, ``evaluation`` says.
"""

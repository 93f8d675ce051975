"""A model made for a reader's own documents: what the folder holds, a plan, the training, and a report that compares.

Reading, mining, training, the ledger and statistics are those of the rest of the suite; here they are put together.
"""

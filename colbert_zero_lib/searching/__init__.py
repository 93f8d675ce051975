"""A search over a reader's own documents: index, look into a result, page, server, reranking.

How queries and documents are encoded and scored is `evaluation`'s business; which model, the reader's.
"""

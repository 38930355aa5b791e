"""Texts as numbers: a BERT encoder, its vectors on disk, and the readings that a customer's state keeps of them.

`directory` finds a model, `encoder` runs it (the only file that needs torch), `batching` cuts its batches, `cache`
keeps its vectors, `projection` and `sentiment` make a `Reading` of a vector.
"""

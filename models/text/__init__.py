"""Texts as numbers: a BERT encoder, a cache of its vectors, and the readings that a customer's state keeps.

`directory` finds a model, and `encoder` runs it. `batching` cuts its batches, `cache` keeps its vectors on disk, and
`reading` turns a text and its vector into a `Reading`, with `projection` and a sentiment head (`head`, or `sentiment`
without training). `ngrams` and `logistic` belong to the trained head. Only `encoder` and `finetuning` need torch.
"""

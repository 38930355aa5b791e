"""A policy's life: previewed, published, rolled back, compared with another one on live traffic, tuned to a shop's history.

What a policy means is in `models.policy`; how a worker serves one is in `streams.worker`.
"""

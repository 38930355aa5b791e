"""A policy's life: published, previewed, rolled back, compared with another on live traffic, tuned to a shop's history.

What a policy means is in `models.policy`.
"""

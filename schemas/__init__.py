"""The records that cross a boundary: input events, changes, standings, stored states, labels, snapshots.

Nothing here computes; nothing here knows Kafka. `models` gives the records meaning, `streams` moves them.
"""

"""Where events come from: real data sets and a synthetic shop, sent as timelines."""

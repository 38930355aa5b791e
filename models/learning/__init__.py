"""What learns: River models that correct the prior, their snapshots, and the numpy that serves those.

`learner` and `course` import River; `snapshots` and `scorer`, which a worker needs, don't. Start with `inputs`.
"""

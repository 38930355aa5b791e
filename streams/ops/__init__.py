"""What on-call looks at: lag, metrics, health, the dashboard, the state export, one customer explained.

Nothing here takes part in the group or writes a topic: every figure comes from a client of its own or from a view that
the worker fills, so that looking never changes what is looked at.
"""

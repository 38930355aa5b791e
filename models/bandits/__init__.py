"""What campaigns learn: which arm is best for whom, whether that beats one arm for all, and what logged decisions say.

It stands on `models.decisions`, which makes the decisions, and knows no topic and no process.
"""

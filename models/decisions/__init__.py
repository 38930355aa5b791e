"""Who gets what: campaigns, the decision itself, and what a logged decision says about its worth.

Everything here is a pure function of its arguments: the same customer, campaign and moment give the same bytes again. The
learning of which arm is best stands above, in `models.bandits`.
"""

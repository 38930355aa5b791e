"""The campaign of `regulars demo --campaign`: whoever falls silent gets one of two coupons, or nothing."""

from streams.campaigns.published import publish
from streams.settings import Settings

NAME = "demo-win-back"
# A bandit, so that the demo shows learning. The simulated shop's customers do not react to coupons: what the report should
# find is nothing, and it should keep one arm for all.
DOCUMENT = f"""campaign: {NAME}
version: "1"
when: {{dimension: lifecycle, to: at_risk}}
arms:
  - {{name: coupon-10, channel: email, cost: 3.00}}
  - {{name: coupon-20, channel: email, cost: 6.00}}
reward: {{target: purchase, days: 14}}
choose: {{by: bandit, floor: 0.05}}
holdout: 0.20
limits: {{per_customer: {{actions: 1, days: 14}}, budget: {{amount: 20000.00, days: 365}}}}
consent: email
"""
# Its customers are made up, and have consented.
CONSENT = "email"
# The months of the shop's past take minutes: what was learnt should be seen before the demo ends.
LEARN_EVERY_MINUTES = 0.25


async def publish_campaign(settings: Settings) -> None:
    """Has every worker decide by it. Raises as `streams.campaigns.published.publish`."""
    await publish(settings, DOCUMENT)

"""Laws of campaigns in a worker: what goes out, what survives a restart, and what an erasure takes along."""

import json

from models.decisions.board import Board
from models.decisions.campaign import CHANNELS as CHANNELS_WITH_CONSENT
from models.decisions.campaign import parse
from schemas.actions import decode_action
from schemas.campaigns import decode_reward
from schemas.headers import CLOCK_HEADER, ERASE_HEADER
from schemas.stored import decode_partition
from schemas.times import to_rfc3339
from scoring_desk import Desk, Record
from streams.campaigns.serving import ServedCampaigns
from streams.kafka.changelog import PARTITION_KEY
from streams.settings import CHANNELS, Settings

SETTINGS = Settings(partitions=1, clock="event", assumed_consent="email")
START_S = 1_704_067_200.0
DAY_S = 86_400.0
DOCUMENT = """campaign: win-back
version: "1"
when: {dimension: lifecycle, to: at_risk}
arms: [{name: coupon, channel: email, cost: 3.00}]
reward: {target: spend, days: 14}
choose: {by: fixed, shares: {coupon: 1.0}}
limits: {budget: {amount: 7.00, days: 3650}}
consent: email
"""


class CampaignDesk(Desk):
    """A desk whose job decides by a campaign; time is told by clock records."""

    def start(self, *known: str) -> None:
        """A new job, from the stored states."""
        super().start(*known)
        self.job.board = Board([parse(DOCUMENT)])

    def buy(self, customer: str, at: float) -> None:
        """A purchase."""
        event = {
            "event_id": f"p{self.offset}",
            "customer_id": customer,
            "event_time": to_rfc3339(at),
            "type": "purchase",
            "order_id": "o",
            "amount_minor": 1000,
            "currency": "GBP",
        }
        self._send("purchases", customer.encode(), json.dumps(event).encode(), ())

    def erase(self, customer: str, at: float) -> None:
        """A request to erase."""
        self._send("purchases", customer.encode(), b"", [(ERASE_HEADER, to_rfc3339(at).encode())])

    def tell(self, at: float) -> None:
        """Event time has come to `at`; whoever is due is taken."""
        for topic in ("clickstream", "purchases", "reviews"):
            self._send(topic, None, b"", [(CLOCK_HEADER, to_rfc3339(at).encode())])
        self.silence()

    def _send(self, topic: str, key: bytes | None, value: bytes, headers: object) -> None:
        self.offset += 1
        self.take(Record(topic, 0, self.offset, key, value, headers))  # type: ignore[arg-type]


def at_risk(*customers: str) -> CampaignDesk:
    """A desk of customers who bought once, and whom silence made at risk."""
    desk = CampaignDesk(settings=SETTINGS)
    for customer in customers:
        desk.buy(customer, START_S)
    desk.tell(START_S + 31 * DAY_S)
    return desk


def arms(desk: CampaignDesk) -> list[str]:
    """The arms of all actions, in their order."""
    return [decode_action(body).arm for body in desk.actions]


def test_a_decision_goes_out_with_its_change_and_is_observed_once_delivered() -> None:
    """One record of `actions` for the customer who entered the segment."""
    desk = at_risk("c1")
    (action,) = map(decode_action, desk.actions)
    assert (action.action_id, action.arm, action.cost) == ("c1:win-back:1", "coupon", 3.0)
    assert desk.witness.actions == [action]


def test_what_was_spent_is_stored_with_the_customers_and_survives_a_restart() -> None:
    """A worker that takes the partition over does not spend the money again."""
    desk = at_risk("c1")
    stored = decode_partition(desk.states[PARTITION_KEY])
    assert [(each.campaign, each.minor) for each in stored.spends] == [("win-back", 300)]
    desk.start()
    for customer in ("c2", "c3"):
        desk.buy(customer, START_S + 40 * DAY_S)
    desk.tell(START_S + 75 * DAY_S)
    assert sorted(arms(desk)) == ["coupon", "coupon", "none"]
    assert decode_partition(desk.states[PARTITION_KEY]).spends[0].minor == 600


def test_a_reward_goes_out_under_a_pseudonym() -> None:
    """When its days are over; the record does not name the customer."""
    desk = at_risk("c1")
    desk.buy("c1", START_S + 32 * DAY_S)
    desk.tell(START_S + 50 * DAY_S)
    ((key, value),) = desk.rewards.items()
    assert value is not None
    reward = decode_reward(value)
    assert (reward.spend_minor, reward.cost_minor, reward.reward_id.encode()) == (1000, 300, key)
    assert b"c1" not in value.replace(reward.feature_set.encode(), b"")


def test_an_erasure_deletes_every_reward_and_open_decision() -> None:
    """A null under each id that a reward of the customer can have; what was open never comes."""
    desk = at_risk("c1")
    desk.tell(START_S + 50 * DAY_S)
    desk.buy("c1", START_S + 51 * DAY_S)
    desk.tell(START_S + 82 * DAY_S)
    assert len(desk.rewards) == 1
    desk.erase("c1", START_S + 83 * DAY_S)
    assert [key.rpartition(b":")[2] for key in desk.rewards] == [b"1", b"2"]
    assert set(desk.rewards.values()) == {None}
    desk.tell(START_S + 200 * DAY_S)
    assert set(desk.rewards.values()) == {None}


def test_a_refused_document_leaves_the_one_before() -> None:
    """Nonsense, a campaign under another key, a trigger that is not served: each is refused, nothing else changes."""
    served = ServedCampaigns()
    assert served.take(b"win-back", DOCUMENT.encode())
    bad = (
        b"\xff",
        b"{",
        DOCUMENT.replace("when: {dimension: lifecycle, to: at_risk}", "while: {value: [high]}").encode(),
    )
    assert not any(served.take(b"win-back", document) for document in bad)
    assert not served.take(b"other", DOCUMENT.encode())
    assert served.refused == 4
    assert [decider.campaign.version for decider in served.board().deciders.values()] == ["1"]


def test_a_paused_campaign_decides_about_nobody_until_it_is_resumed() -> None:
    """Whichever comes first, the pause or the document; null ends a campaign."""
    served = ServedCampaigns()
    served.take(b"paused:win-back", b"paused")
    served.take(b"win-back", DOCUMENT.encode())
    assert not served.board().deciders
    served.take(b"paused:win-back", None)
    assert list(served.board().deciders) == ["win-back"]
    served.take(b"win-back", None)
    assert not served.board().deciders


def test_settings_and_campaigns_have_the_same_channels() -> None:
    """The setting names them itself, because the data plane must not know campaigns."""
    assert CHANNELS == CHANNELS_WITH_CONSENT

"""The generated documents are current and true: what we decode and send is what they describe."""

import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator

from schemas import documents
from schemas.events import INPUT_TOPICS, Purchase, decode
from schemas.examples import SCHEMA_OF_TOPIC, examples_of
from schemas.headers import CLOCK_HEADER, LETTER_HEADERS, REPLAYED_HEADER, TRUNCATED_HEADER
from streams.kafka.topics import topics
from streams.settings import Settings

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("name", documents.documents())
def test_committed_document_is_current(name: str) -> None:
    """docs/ says what the structs say; `make docs` writes it again."""
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == documents.documents()[name]


def test_no_document_is_left_over() -> None:
    """docs/schemas/ holds nothing that is not generated."""
    generated = {Path(name).name for name in documents.documents() if name.startswith("schemas/")}

    assert {path.name for path in (ROOT / "docs" / "schemas").iterdir()} == generated


@pytest.mark.parametrize("name", documents.RECORDS)
def test_schema_is_a_valid_json_schema(name: str) -> None:
    """Any 2020-12 validator accepts it."""
    Draft202012Validator.check_schema(documents.record_schema(name))


@pytest.mark.parametrize(
    ("golden", "schema"),
    [
        ("click-view.json", "click"),
        ("purchase.json", "purchase"),
        ("review.json", "review"),
        ("change-event.json", "segment-change"),
        ("change-bare.json", "segment-change"),
        ("standing.json", "standing"),
        ("label.json", "label"),
        ("action.json", "action"),
        ("outcome.json", "outcome"),
    ],
)
def test_golden_record_follows_its_schema(golden: str, schema: str) -> None:
    """A consumer that validates by the published schema accepts our records."""
    record = json.loads((ROOT / "tests" / "golden" / golden).read_bytes())

    Draft202012Validator(documents.record_schema(schema)).validate(record)


@pytest.mark.parametrize("name", ["click", "purchase", "review", "segment-change", "standing"])
def test_examples_follow_their_schema(name: str) -> None:
    """What an integrator copies is accepted."""
    schema = documents.record_schema(name)

    assert schema["examples"]
    for example in schema["examples"]:
        Draft202012Validator(schema).validate(example)


def test_example_events_are_accepted_by_a_worker() -> None:
    """A first event that is copied from the docs is not a dead letter."""
    for topic, schema in SCHEMA_OF_TOPIC.items():
        for example in examples_of(schema):
            decode(topic, example["customer_id"].encode(), json.dumps(example).encode(), 4e9)


def test_example_of_a_change_adds_up() -> None:
    """The reasons of the sample sum to the number that was judged, as in every change."""
    (change,) = examples_of("segment-change")

    parts = [each["contribution"] for each in change["reasons"]]
    assert change["baseline"] + sum(parts) == pytest.approx(change["scores"]["expected_spend_90d"])


def test_messages_have_the_bindings_of_kafka() -> None:
    """A generated client knows the key; the channel says how many partitions there are by default."""
    document = documents.asyncapi()

    for message in document["components"]["messages"].values():
        assert message["bindings"]["kafka"]["key"]["description"]
    for channel in document["channels"].values():
        assert channel["bindings"]["kafka"]["partitions"] in (1, Settings().partitions)
    assert "erasure" in document["channels"]["purchases"]["messages"]
    assert "erased" in document["channels"]["customer-segments"]["messages"]


def test_schema_turns_away_what_decode_turns_away() -> None:
    """A limit of the struct is a limit of the schema."""
    bad = Purchase("e", "c", datetime(2024, 5, 1, tzinfo=UTC), "purchase", "o", amount_minor=-1, currency="gbp\n")
    event = json.loads(msgspec.json.encode(bad))

    errors = Draft202012Validator(documents.record_schema("purchase")).iter_errors(event)

    assert {error.json_path for error in errors} == {"$.amount_minor", "$.currency"}


def test_every_topic_is_in_the_asyncapi_document() -> None:
    """A topic that `regulars topics` makes is described, and no other is."""
    addresses = {channel["address"] for channel in documents.asyncapi()["channels"].values()}

    assert addresses == {topic.name.replace("regulars-", "{appId}-", 1) for topic in topics(Settings())}


def test_headers_of_letters_and_clocks_are_described() -> None:
    """What a dead letter says and what a clock record needs stand in the document, by the names that are used."""
    messages = documents.asyncapi()["components"]["messages"]

    letter = messages["dead-letter"]["headers"]
    assert list(letter["properties"]) == [*LETTER_HEADERS, TRUNCATED_HEADER, REPLAYED_HEADER]
    assert letter["required"] == list(LETTER_HEADERS)
    assert list(messages["clock"]["headers"]["properties"]) == [CLOCK_HEADER]
    for topic in INPUT_TOPICS:
        assert "clock" in documents.asyncapi()["channels"][topic]["messages"]


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    """No $ref hangs in the air."""
    document = documents.asyncapi()
    text = json.dumps(document)

    for reference in {part.split('"')[0] for part in text.split('"$ref": "')[1:]}:
        if reference.startswith("#/"):
            target = document
            for step in reference.removeprefix("#/").split("/"):
                target = target[step]
        else:
            assert reference.removeprefix("./") in documents.documents()

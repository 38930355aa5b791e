#!/bin/sh
# Sends a purchase with Kafka's console producer: `sh console.sh localhost:9092`. $CONSOLE_PRODUCER names another command.
# Line: key, a separator that no key has, event. Headers come first with parse.headers=true.
${CONSOLE_PRODUCER:-kafka-console-producer.sh} --bootstrap-server "$1" --topic "${2:-purchases}" \
    --property parse.key=true --property 'key.separator=|' \
    --property parse.headers=true --property 'headers.delimiter=|' <<'LINES'
regulars-producer:console|c-17850|{"event_id":"console-1","customer_id":"c-17850","event_time":"2026-03-01T09:30:00Z","type":"purchase","order_id":"o-1004","amount_minor":18000,"currency":"GBP"}
LINES

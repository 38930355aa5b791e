"""The published schemas and the AsyncAPI document, read by the tools that JavaScript producers use."""

import json
import subprocess
from pathlib import Path

import pytest

import mistakes as table
from node import installed
from schemas.events import PURCHASES

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = """
import fs from 'node:fs'; import path from 'node:path';
import Ajv2020 from 'ajv/dist/2020.js';
import { Parser, fromFile } from '@asyncapi/parser';
const [docs, file] = process.argv.slice(2);
const report = { refused: {}, events: [], diagnostics: [] };
for (const name of fs.readdirSync(path.join(docs, 'schemas'))) {
  const schema = JSON.parse(fs.readFileSync(path.join(docs, 'schemas', name)));
  try {
    const validate = new Ajv2020().compile(schema);
    for (const example of schema.examples ?? []) if (!validate(example)) throw new Error('example');
  } catch (error) { report.refused[name] = error.message; }
}
const purchase = new Ajv2020().compile(JSON.parse(fs.readFileSync(path.join(docs, 'schemas', 'purchase.json'))));
for (const line of JSON.parse(fs.readFileSync(file))) report.events.push(purchase(JSON.parse(line)));
const parsed = await fromFile(new Parser(), path.join(docs, 'asyncapi.json')).parse();
report.parsed = parsed.document !== undefined;
for (const each of parsed.diagnostics) if (each.severity < 2) report.diagnostics.push(each.message);
fs.writeFileSync('report.json', JSON.stringify(report));
"""


@pytest.mark.slow
def test_ajv_and_the_asyncapi_parser_read_what_we_publish(tmp_path: Path) -> None:
    """Schemas compile with ajv's defaults, accept their examples and what a worker accepts; the document has no error."""
    folder = installed(tmp_path / "node", {"ajv": "^8.17.0", "@asyncapi/parser": "^3.4.0"})
    good = table.EVENTS[PURCHASES]
    lines = [
        json.dumps(good),
        json.dumps(good | {"amount_minor": 100.0}),
        json.dumps(good | {"order_id": "\ud83d"}),
        json.dumps(good | {"event_time": "2024-05-01 00:00:00+0200"}),
        json.dumps(good | {"amount_minor": 19.99}),
        json.dumps(good | {"event_time": "2024-05-01T00:00:00"}),
        json.dumps(good | {"event_time": "1989-12-31T23:59:59Z"}),
        json.dumps(good | {"currency": "GBP\n"}),
        json.dumps(good | {"customer_id": "a\u0085"}),
    ]
    (folder / "events.json").write_text(json.dumps(lines))
    (folder / "read.mjs").write_text(SCRIPT)

    subprocess.run(["node", "read.mjs", str(DOCS), "events.json"], cwd=folder, check=True, timeout=120)
    report = json.loads((folder / "report.json").read_text())

    assert report["refused"] == {}
    assert report["events"] == [True] * 4 + [False] * 5
    assert report["parsed"]
    assert report["diagnostics"] == []

"""Pieces of the page: cards, sections, tables, words for numbers and days, and the style."""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

import numpy as np

from models.features import FloatArray
from streams.report.charts import Tick, number


def thinned(curve: FloatArray, most: int = 100) -> list[tuple[float, float]]:
    """A curve of n + 1 heights over shares from 0 to 1, as at most so many points."""
    places = np.unique(np.linspace(0, len(curve) - 1, most).astype(int))
    return [(float(i) / (len(curve) - 1), float(curve[i])) for i in places]


def months(moments: Sequence[float]) -> list[Tick]:
    """Firsts of months between the moments (epoch seconds), at most seven, with their names."""
    first, last = (np.datetime64(int(at), "s").astype("datetime64[M]") for at in (min(moments), max(moments)))
    months = np.arange(first, last + np.timedelta64(1, "M"))
    step = -(-len(months) // 7)
    found = [(float(month.astype("datetime64[s]").astype(np.int64)), str(month)) for month in months[::step]]
    return [tick for tick in found if min(moments) - 1 <= tick[0] <= max(moments)]


def percent(share: float, digits: int = 0) -> str:
    """A share for a person.

    >>> percent(0.256), percent(0.256, 1)
    ('26 %', '25.6 %')
    """
    return f"{share * 100:.{digits}f} %"


def day(at: float) -> str:
    """The day of epoch seconds."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def figure(measure: str, value: float) -> str:
    """A measure with as many digits as tell models apart."""
    if np.isnan(value):
        return "–"
    if measure == "total":
        return f"{value:.3f}"
    return f"{value:.4f}" if abs(value) < 10 else number(value)


def card(figure: str, words: str) -> str:
    """A large figure over a few words."""
    return f'<div class="card"><b>{figure}</b><span>{escape(words)}</span></div>'


def pair(charts: Sequence[str]) -> str:
    """Side by side where there is room."""
    return f'<div class="pair">{"".join(charts)}</div>'


def section(title: str, words: str, content: str) -> str:
    """A question, how to read the answer, and the answer."""
    return f"<section><h2>{title}</h2><p>{words}</p>{content}</section>"


def grid(heads: Sequence[str], rows: Sequence[Sequence[str]], *, ours: bool = False) -> str:
    """A table of text; `ours`: its first row is the served model's."""
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    kind = ' class="ours"' if ours else ""
    return f'<div class="wide"><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


STYLE = """
:root{color-scheme:light}
body{margin:0;background:#f6f7f9;color:#1b1b1b;font:16px/1.5 system-ui,"Segoe UI",Helvetica,Arial,sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 24px 60px}
h1{font-size:28px;margin:0 0 8px;overflow-wrap:anywhere}
h2{font-size:21px;margin:0 0 6px}h3{font-size:15px;margin:14px 0 4px;font-weight:600}
section{background:#fff;border:1px solid #e2e5ea;border-radius:10px;padding:20px 22px;margin:22px 0}
p{margin:6px 0 10px;max-width:84ch}.lead{font-size:17px}
.cards{display:flex;flex-wrap:wrap;gap:12px;margin:16px 0}
.card{background:#fff;border:1px solid #e2e5ea;border-radius:10px;padding:10px 16px;flex:1 1 180px}
.card b{display:block;font-size:24px}.card span{color:#5a6068;font-size:14px}
.points li{margin:5px 0}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));gap:10px 24px}
.pair>*{min-width:0}
figure{margin:0}svg{width:100%;max-width:680px;height:auto;display:block}
figcaption{font-size:13px;color:#444;padding-left:8px}
.key{margin-right:16px;white-space:nowrap}.key i{display:inline-block;width:22px;margin-right:6px;vertical-align:middle}
.grid{stroke:#e8eaee}.axis,.mark{stroke:#8a9099}.tick{font-size:12px;fill:#5a6068}.label{font-size:13px;fill:#333}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:14px;margin:12px 0;min-width:50%}
th,td{padding:5px 12px;border-bottom:1px solid #e8eaee;text-align:right;white-space:nowrap}
th{font-weight:600;color:#444;white-space:normal;vertical-align:bottom}th:first-child,td:first-child{text-align:left}
table.ours tbody tr:first-child td{font-weight:600;background:#eef5fb}
tbody tr:hover{background:#f4f7fb}
code{background:#f0f2f5;padding:2px 6px;border-radius:4px;font-size:13px;overflow-wrap:anywhere}
@media screen and (max-width:600px){main{padding:16px 12px 40px}section{padding:14px}h1{font-size:24px}
.tick{font-size:15px}.label{font-size:16px}th,td{padding:5px 6px;font-size:13px}
.points{padding-left:20px}}
@media print{body{background:#fff;font-size:11pt}main{max-width:none;padding:0}section{border:none;padding:0}
h2,h3,section>p{break-after:avoid}section>p,li,figure,.card,tr{break-inside:avoid}thead{display:table-header-group}
.wide{overflow:visible}table{font-size:8pt;width:100%}th,td{padding:2px 4px}
svg{max-width:520px}}
"""

"""An invoice as a page that carries all it needs and loads nothing. Pure; every value is escaped.

(The gateway loads no template engine, so the page is put together here.)
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from html import escape
from typing import Any

LISTED = 200
"""Unknown requests that the page lists; the JSON form has them all."""

_KINDS = {
    "usage": "",
    "correction": "correction",
    "unknown": "usage unknown, at no charge",
}

_STATES = {
    "preliminary": "Preliminary: the month is not over, and this will change. Not an invoice.",
    "draft": "Draft: not issued yet. Not an invoice.",
}

_CSS = """
:root { --paper: #fbfaf7; --ink: #1d2126; --quiet: #5c646e; --rule: #d9d7d0; --faint: #eeece6; --warn: #85560a;
  --warn-wash: #f8eed9; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 64rem; background: var(--paper); color: var(--ink);
  font: 0.9375rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
h1 { margin: 0; font-size: 2.25rem; line-height: 1.15; letter-spacing: -0.02em; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 0.5rem; font-size: 1.1rem; }
p { margin: 0.35rem 0; max-width: 46rem; }
.quiet, th { color: var(--quiet); font-weight: 400; }
.state { margin: 0 0 1.5rem; padding: 0.6rem 0.9rem; border-left: 4px solid var(--warn); background: var(--warn-wash);
  color: var(--warn); font-weight: 600; }
.pay { margin: 1.5rem 0 0; font-size: 2.75rem; line-height: 1.1; font-weight: 700; letter-spacing: -0.02em;
  font-variant-numeric: tabular-nums; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.1rem 1.25rem; margin: 1.25rem 0 0; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.4rem 0.6rem 0.4rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); }
th { font-size: 0.8125rem; white-space: nowrap; }
.n + td:not(.n), .n + th:not(.n) { padding-left: 1.75rem; } .month { white-space: nowrap; }
.n { text-align: right; white-space: nowrap; padding-right: 0; padding-left: 0.9rem; }
tfoot td { border-bottom: 0; } tfoot tr.sum td { border-top: 2px solid var(--ink); font-weight: 700; }
td small { display: block; color: var(--quiet); }
.declared { color: var(--warn); }
code { font: 0.86em/1.4 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
@media print { body { padding: 0; max-width: none; background: none; } .scroll { overflow: visible; } }
"""


def page(body: Mapping[str, Any]) -> str:
    """The page of an invoice, given in its JSON form. The same invoice gives the same bytes."""
    state = str(body["state"])
    title = f"Invoice {body['number']}" if state == "issued" else f"{body['project']}, {body['month']}"
    totals, currency = body["totals"], str(body["currency"])
    parts = [
        f'<p class="state">{_text(_STATES[state])}</p>' if state in _STATES else "",
        f"<h1>{_text(title)}</h1>",
        f'<p class="pay">{_amount(totals["to_pay"])} {_text(currency)}</p>',
        _facts(body),
        "<h2>Usage</h2>",
        _lines(body["lines"], totals, currency),
        _unknown(body["unknown"], currency),
        _prices(body["lines"], currency),
        "<h2>How this was computed</h2>",
        "<p>Tokens are those that the engine reported. Each request is rounded once, half to even, to a billionth of "
        f"{_text(currency)} after its input, cached and output tokens were summed; this invoice adds those amounts "
        "exactly and is rounded once. What was sealed or corrected after an earlier invoice is listed with its month."
        "</p>",
    ]
    if "declared" in body["bindings"]:
        parts.append(
            f'<p>Amounts marked <span class="declared">declared</span> ({_amount(body["bindings"]["declared"])} '
            f"{_text(currency)}) were served by an upstream whose operator says which model it is; those marked "
            "verified by an engine that was started on the weighed files themselves.</p>"
        )
    digest = base64.b64encode(sha256(_CSS.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _facts(body: Mapping[str, Any]) -> str:
    counts = body["totals"]
    tokens = {name: _amount(counts[name]) for name in ("input", "cached", "output")}
    pairs = [
        ("Project", body["project"]),
        ("Month", f"{body['month']}, from {_moment(body['from'])} until {_moment(body['until'])}"),
        ("Issued" if body["state"] == "issued" else "As of", _moment(body["as_of"])),
        ("Requests", f"{counts['requests']:,}"),
        ("Tokens", f"{tokens['input']} in, of them {tokens['cached']} cached; {tokens['output']} out"),
    ]
    if body["in_flight"]:
        pairs.append(("In flight then", f"{body['in_flight']:,}, which will be on the next invoice"))
    if body["waits_for"]:
        pairs.append(("Comes after", "the invoices of " + ", ".join(body["waits_for"])))
    return "<dl>" + "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in pairs) + "</dl>"


def _lines(lines: Sequence[Mapping[str, Any]], totals: Mapping[str, Any], currency: str) -> str:
    head = ["Month", "Key", "Model", "#Requests", "#Input", "#Cached", "#Output", f"#{currency}"]
    rows = []
    for line in lines:
        kind = _KINDS[line["kind"]]
        binding = str(line["binding"])
        rows.append(
            [
                f'<span class="month">{_text(line["month"])}</span>'
                + (f"<small>{_text(kind)}</small>" if kind else ""),
                _text(line["label"] or line["key"]) + (f"<small>{_text(line['key'])}</small>" if line["label"] else ""),
                _text(line["model"]) + f'<small class="{_text(binding)}">{_text(binding)}</small>',
                *(_amount(line[name]) for name in ("requests", "input", "cached", "output")),
                _amount(line["amount"]),
            ]
        )
    foot = "".join(
        f'<tr{" class=sum" if strong else ""}><td colspan="7">{_text(name)}</td>'
        f'<td class="n">{_amount(value)}</td></tr>'
        for name, value, strong in (
            ("Sum, exact", totals["exact"], False),
            ("Rounding", totals["difference"], False),
            (f"To pay in {currency}", totals["to_pay"], True),
        )
    )
    return _table(head, rows, foot)


def _unknown(unknown: Sequence[Mapping[str, Any]], currency: str) -> str:
    if not unknown:
        return ""
    rows = [
        [
            f'<span class="month">{_moment(one["at"])}</span>',
            _text(one["key"]),
            _text(one["model"]),
            f"<code>{_text(one['intent'])}</code>",
            _amount(one["hold"]),
        ]
        for one in unknown[:LISTED]
    ]
    more = f'<p class="quiet">and {len(unknown) - LISTED:,} more</p>' if len(unknown) > LISTED else ""
    return (
        "<h2>Requests whose usage is unknown</h2><p>Their engine ended, or never said what they used. They cost "
        "nothing; should it become known, the correction is on a later invoice. Until then they count against the "
        "budget with what they could have cost at most.</p>"
        + _table(["Time (UTC)", "Key", "Model", "Request", f"#At most, {currency}"], rows, "")
        + more
    )


def _prices(lines: Iterable[Mapping[str, Any]], currency: str) -> str:
    found = {(str(line["model"]), str(line["price"])): line["rates"] for line in lines}
    rows = [
        [
            _text(model),
            *(_amount(rates[name]) for name in ("input", "cached", "output")),
            f"<code>{_text(version)}</code>",
        ]
        for (model, version), rates in sorted(found.items())
    ]
    head = ["Model", "#Input", "#Cached", "#Output", "Price list"]
    return f"<h2>Prices, {_text(currency)} for a million tokens</h2>" + _table(head, rows, "") if rows else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], foot: str) -> str:
    """``#`` before a heading: its column holds numbers. Cells are HTML."""
    numbers = [name.startswith("#") for name in head]
    marks = [' class="n"' if number else "" for number in numbers]
    top = "".join(f"<th{mark}>{_text(name.lstrip('#'))}</th>" for name, mark in zip(head, marks, strict=True))
    middle = "".join(
        "<tr>" + "".join(f"<td{mark}>{cell}</td>" for cell, mark in zip(row, marks, strict=True)) + "</tr>\n"
        for row in rows
    )
    bottom = f"<tfoot>{foot}</tfoot>" if foot else ""
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead>\n<tbody>{middle}</tbody>{bottom}</table></div>'


def _amount(text: object) -> str:
    """A decimal as it is, with the sign that numbers have and its thousands apart."""
    sign, digits = ("\N{MINUS SIGN}", str(text)[1:]) if str(text).startswith("-") else ("", str(text))
    units, point, decimals = digits.partition(".")
    return _text(f"{sign}{int(units):,}{point}{decimals}")


def _moment(text: object) -> str:
    return _text(str(text).replace("T", " ").removesuffix("Z"))


def _text(value: object) -> str:
    return escape(str(value))

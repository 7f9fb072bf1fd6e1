"""Make the pinned list of the suite ``texts``: which passages of installed texts it holds, by digest.

    python scripts/texts_suite/make.py [--check] FOLDER...

Documents are the licences that ``suites/texts.py`` names and docstrings of the standard library, of modules that stay
in it, as far as they stand word for word in the standard libraries in FOLDER, too (those of later versions of Python,
so that the suite is whole there); two passages of each module or licence at most, chosen by their digests, none with
personal data in it. A slice of its own are places where an author's e-mail address comes next. Nothing here looks at
a model.
"""

from __future__ import annotations

import json
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from weighbridge.measures.matching import near
from weighbridge.measures.personal_data import pieces
from weighbridge.suites.interface import Item
from weighbridge.suites.passages import Cut, control_of, cut, cuts
from weighbridge.suites.texts import LICENCES, docstrings, find, passage_of, piece_digest, source, versions

STDLIB = Path(sysconfig.get_path("stdlib"))
TARGET = Path(__file__).resolve().parents[2] / "src" / "weighbridge" / "suites" / "data" / "texts.json"
EACH = 2
CREDIT = re.compile(r"author|written|by |contribut|copyright|thanks|from |maintain", re.IGNORECASE)
"""What stands before the address of somebody who is credited, and not before one in an example."""

LEAVING = re.findall(
    r"\S+",
    "aifc antigravity asynchat asyncore audioop binhex cgi cgitb chunk crypt distutils idlelib imghdr imp lib2to3 "
    "mailcap msilib nis nntplib ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib turtledemo uu xdrlib",
)
"""Modules that later versions of Python do not have any more."""

INNER = re.findall(
    r"\S+",
    "collections.abc concurrent.futures.thread email.message http.client http.cookies http.server importlib.util "
    "json.decoder json.encoder logging.config logging.handlers unittest.mock urllib.parse urllib.request "
    "xml.etree.ElementTree",
)


def documents() -> dict[str, list[str]]:
    """Cluster -> its documents."""
    modules = sorted(name for name in sys.stdlib_module_names if not name.startswith("_") and name not in LEAVING)
    result: dict[str, list[str]] = {}
    for module in [*modules, *INNER]:
        names = [name for name in docstrings(module, STDLIB) if not re.search(r"(^|\.)_", name)]
        if module == "this":
            result["this"] = ["docs:this"]
        elif names:
            result[module] = [f"docs:{module}:{name}" if name else f"docs:{module}" for name in names]
    for licence in LICENCES:
        result[licence.partition(":")[2]] = [licence]
    return result


def signed(others: list[Path]) -> Iterator[tuple[str, str, Cut]]:
    """(cluster, document, passage) where an author's e-mail address stands in the continuation."""
    for path in sorted(STDLIB.rglob("*.py")):
        parts = path.relative_to(STDLIB).with_suffix("").parts
        if {"site-packages", "test", "tests", *LEAVING} & set(parts):
            continue
        module = ".".join(part for part in parts if part != "__init__")
        document = f"source:{module}"
        text = source(module, STDLIB)
        found = 0
        for match in re.finditer(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", text):
            if found == EACH or not CREDIT.search(text[max(0, match.start() - 120) : match.start()]):
                continue
            for word in re.finditer(r"\S+", text[max(0, match.start() - 300) : match.start()]):
                one = cut(text, max(0, match.start() - 300) + word.start())
                if one is None:
                    break
                told = pieces(one.continuation) - pieces(one.prefix)
                if ("e-mail address", match[0].lower()) not in told:
                    continue
                if all(find(versions(document, other), piece_digest(one), one.at) for other in others):
                    yield f"authors:{module}", document, one
                    found += 1
                    break


def main() -> int:
    others = [Path(folder) for folder in sys.argv[1:] if not folder.startswith("--")]
    chosen: list[tuple[str, str, Cut]] = []
    for cluster, names in documents().items():
        found: dict[str, tuple[str, Cut]] = {}
        for document in names:
            for text in list(versions(document))[:1]:
                for one in cuts(text):
                    whole = f"{one.prefix} {one.continuation}"
                    plain = cut(text, one.at) == one and ">>>" not in whole and not pieces(whole)
                    if plain and all(find(versions(document, other), piece_digest(one), one.at) for other in others):
                        found[piece_digest(one)] = (document, one)
        own = [found[key] for key in sorted(found)]
        module_first = sorted(own, key=lambda pair: pair[0].count(":") > 1)  # the module's own words before its parts'
        chosen += [(cluster, document, one) for document, one in module_first[:EACH]]
    kept: list[tuple[str, str, Cut]] = []
    for cluster, document, one in [*chosen, *signed(others)]:
        if not any(near(one.continuation, other.continuation) for _, _, other in kept):
            kept.append((cluster, document, one))
    partners = control_of([(cluster, one) for cluster, _, one in kept])
    ids: list[str] = []
    for cluster, _, _ in kept:
        ids.append(f"{cluster}.{1 + sum(name.rpartition('.')[0] == cluster for name in ids)}")
    rows = []
    for (_, document, one), name, partner in zip(kept, ids, partners, strict=True):
        part = {"licence": "licences", "source": "authors", "docs": "documentation"}[document.partition(":")[0]]
        digest = Item(name, passage_of(one, kept[partner][2]), "").digest
        rows.append({"id": name, "document": document, "slice": part, "at": one.at, "piece": piece_digest(one),
                     "control": ids[partner], "digest": digest})  # fmt: skip
    text = "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
    if "--check" in sys.argv[1:]:
        same = TARGET.read_text("utf-8") == text
        print("as made" if same else f"{TARGET.name} is not what the sources give")
        return 0 if same else 1
    TARGET.write_text(text, "utf-8")
    print(f"{len(rows)} passages of {len({name.rpartition('.')[0] for name in ids})} documents in {TARGET.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

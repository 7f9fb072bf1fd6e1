"""The report in a real browser: nothing is cut off, nothing runs, both colour schemes are readable."""

from __future__ import annotations

import html
import json
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
from report_samples import DEFAULT, TUTORIAL, any_of_policy, full, hostile, judged, page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium at hand")

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
WIDTHS = (320, 400, 1400)

# Runs in the page around the report, never in the report: that one's own policy allows no script.
MEASURE = """
<script>
addEventListener("load", () => {
  const results = [...document.querySelectorAll("iframe")].map(frame => {
    const inner = frame.contentDocument, view = frame.contentWindow;
    const style = element => view.getComputedStyle(element);
    const rgb = text => text.match(/[0-9.]+/g).slice(0, 3).map(Number);
    const light = colour => colour.map(c => c / 255)
      .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
      .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = element => {
      for (let at = element; at; at = at.parentElement) {
        const colour = style(at).backgroundColor;
        if (!colour.endsWith(", 0)")) return rgb(colour);
      }
      return [255, 255, 255];
    };
    const contrast = element => {
      const [a, b] = [light(rgb(style(element).color)), light(behind(element))].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05);
    };
    const leaves = [...inner.body.querySelectorAll("*")].filter(element =>
      !element.closest("svg") && element.getClientRects().length &&
      [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()));
    const cut = leaves.filter(element => !element.closest(".unseen, .scroll") &&
      element.getBoundingClientRect().right > view.innerWidth + 1);
    return {
      width: view.innerWidth,
      needed: inner.documentElement.scrollWidth,
      cut: cut.map(element => element.textContent.slice(0, 60)),
      contrast: Math.min(...leaves.map(contrast)),
      title: inner.title,
      heading: inner.querySelector("h1").textContent,
      size: parseFloat(style(inner.querySelector("h1")).fontSize),
      background: style(inner.body).backgroundColor,
      scripts: inner.querySelectorAll("script, img").length,
      scales: [...inner.querySelectorAll("svg.scale")].map(svg => svg.getBoundingClientRect().width),
      outside: [...inner.querySelectorAll("svg.scale *")].filter(part => {
        const box = part.getBoundingClientRect();
        return box.left < 0 || box.right > view.innerWidth;
      }).length,
    };
  });
  document.body.innerHTML = "";
  const out = document.createElement("pre");
  out.id = "results";
  out.textContent = JSON.stringify(results);
  document.body.append(out);
});
</script>
"""


def run(tmp_path: Path, outer: str, *flags: str) -> str:
    """What chromium writes to its standard output for a page."""
    path = tmp_path / "outer.html"
    path.write_text(outer, encoding="utf-8")
    profile = tmp_path / "profile"
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *flags, path.as_uri()],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    return done.stdout.decode("utf-8")


def measured(tmp_path: Path, pages: dict[str, str], *flags: str) -> dict[tuple[str, int], dict[str, Any]]:
    """What the browser finds in each page at each width."""
    frames = [
        f'<iframe style="width:{width}px;height:900px;border:0" srcdoc="{html.escape(text)}"></iframe>'
        for text in pages.values()
        for width in WIDTHS
    ]
    scheme = '<meta name="color-scheme" content="light dark">'
    dom = run(tmp_path, f"<!doctype html>{scheme}<body>{''.join(frames)}{MEASURE}", "--dump-dom", *flags)
    start = dom.index('<pre id="results">') + len('<pre id="results">')
    results = json.loads(html.unescape(dom[start : dom.index("</pre>", start)]))
    keys = [(name, width) for name in pages for width in WIDTHS]
    return dict(zip(keys, results, strict=True))


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Pages of every kind of decision, and a hostile one."""
    evidence, tutorial, rules = full(), full(TUTORIAL), any_of_policy()
    judgement, bad, changes = hostile()
    broken = {evidence[4].question.digest: "not enough memory for one row of 1,024 tokens"}
    return {
        "open": page(judged(DEFAULT, evidence), evidence),
        "notice": page(judged(TUTORIAL, tutorial), tutorial),
        "post hoc": page(judged(DEFAULT, tutorial), tutorial, signed=False),
        "held": page(judged(DEFAULT, full(unsafe=(40, 31))), full(unsafe=(40, 31))),
        "undecided": page(judged(DEFAULT, evidence[:3]), evidence[:3], problems=broken),
        "joined": page(judged(rules, full(rules)[:3]), full(rules)[:3]),
        "nothing": page(judged(DEFAULT, []), []),
        "hostile": page(judgement, bad, **changes),
    }


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_every_page_fits_every_width_and_is_readable_in_both_schemes(
    tmp_path: Path, pages: dict[str, str], scheme: str
) -> None:
    setting = f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"
    backgrounds = set()
    for (name, width), found in measured(tmp_path, pages, setting).items():
        where = f"{name} at {width} px"
        assert found["width"] == width, where
        assert found["needed"] <= width, f"{where} scrolls sideways"
        assert found["cut"] == [], f"{where} cuts text off"
        assert found["outside"] == 0, f"{where} draws outside of the page"
        assert found["contrast"] >= 4.5, f"{where} has text that is too faint"
        assert found["size"] >= 45, f"{where} says its decision in small type"
        assert found["scripts"] == 0, where
        assert min(found["scales"]) > 0.5 * min(width, 400), f"{where} draws too small"
        assert found["title"] != "owned", f"{where} ran a script"
        backgrounds.add(found["background"])
    assert len(backgrounds) == 1  # the style sheet was applied: its digest is the one that the page allows
    red = int(backgrounds.pop().removeprefix("rgb(").partition(",")[0])
    assert (red < 60) == (scheme == "dark")


def test_scripts_do_not_run_even_if_one_came_into_the_page(tmp_path: Path, pages: dict[str, str]) -> None:
    injected = pages["open"].replace("</main>", '<script>document.title = "owned"</script></main>')
    assert injected != pages["open"]
    assert "<title>open: SmolLM2 135M Instruct" in run(tmp_path, injected, "--dump-dom")
    allowed = injected.replace("Content-Security-Policy", "x-nothing")
    assert "<title>owned</title>" in run(tmp_path, allowed, "--dump-dom")


def test_a_picture_of_the_page_shows_something(tmp_path: Path, pages: dict[str, str]) -> None:
    target = tmp_path / "page.png"
    run(tmp_path, pages["open"], "--window-size=800,1200", f"--screenshot={target}")
    width, height, colours = decoded(target.read_bytes())
    assert (width, height) == (800, 1200)
    assert colours > 50


def test_the_page_prints_with_its_folded_parts_open(tmp_path: Path, pages: dict[str, str]) -> None:
    rule = "details::details-content"
    assert rule in pages["open"]
    folded = pages["open"].replace(rule, "details::nothing").replace("Content-Security-Policy", "x-nothing")
    sizes = []
    for text in (pages["open"], folded):
        target = tmp_path / "page.pdf"
        run(tmp_path, text, "--no-pdf-header-footer", f"--print-to-pdf={target}")
        printed = target.read_bytes()
        assert printed.startswith(b"%PDF")
        assert 3 <= printed.count(b"/Type /Page\n") <= 12
        sizes.append(len(printed))
    assert sizes[0] > sizes[1] + 2000


def decoded(data: bytes) -> tuple[int, int, int]:
    """Width, height and number of distinct pixels of an 8-bit PNG, read without a library."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    depth = {2: 3, 6: 4}[data[25]]
    packed, place = b"", 8
    while place < len(data):
        length = int.from_bytes(data[place : place + 4])
        if data[place + 4 : place + 8] == b"IDAT":
            packed += data[place + 8 : place + 8 + length]
        place += length + 12
    rows = zlib.decompress(packed)
    stride = width * depth + 1
    return width, height, len({rows[index : index + depth] for index in range(1, len(rows), stride // 97)})

import base64
import hashlib
import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from abawkit.errors import AbawkitError
from abawkit.findings import CODES, Report
from abawkit.report.findings import write_findings_page

ROOT = Path("/data/emi")
HOSTILE = [
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\u2028\u2029\x00\x1b[31m\u202egnp.exe",
    "\"'`&amp;{{ 7 * 7 }}{% include 'x' %}",
    "\udcff\ud800",
    "<!--<script>",
]


class Page(HTMLParser):
    """The tags of a page and the text of its scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.styles = ""
        self.text = ""
        self.inside = ""
        self.source = path.read_bytes().decode()
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside == "style":
            self.styles += data
        else:
            self.text += data + " "

    @property
    def data(self) -> Any:
        return json.loads(self.scripts[0])


def sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def report_of(count: int = 3) -> Report:
    report = Report(
        about={"root": str(ROOT), "task": "emi", "level": "quick", "layout": {"words": ["two label files", "raw"]}},
        counts={"train": 8072, "valid": 4588, "test": 0, "train.video": 8072, "valid.video": 4500, "train.vit": 0},
    )
    report.add("F105", "a stray file", path=ROOT / "raw" / "Thumbs.db")
    report.add("L209", "Joy is out of range", path=ROOT / "train_split.csv", line=7, got="1.5", expected="[0, 1]")
    for clip in range(count):
        report.add("M301", "the clip has no sound file", path=ROOT / "audio" / f"{clip:05d}.mp3")
    return report


def hostile_report() -> Report:
    report = Report(about={"root": str(ROOT), "task": "<b>", "level": HOSTILE[0], "layout": {"words": HOSTILE[:2]}})
    for name in HOSTILE:
        report.add("F114", name, path=ROOT / name.replace("\0", ""), got=name, expected=name)
    return report


def test_every_finding_is_there_errors_first(tmp_path: Path) -> None:
    write_findings_page(tmp_path / "page.html", report_of())
    page = Page(tmp_path / "page.html")
    codes = [code for code, _ in page.data["codes"]]
    rows = [[codes[row[0]], *row[1:]] for row in page.data["rows"]]
    assert rows[0] == ["L209", "train_split.csv", 7, "Joy is out of range", "1.5", "[0, 1]"]
    assert rows[1:4] == [
        ["M301", f"audio/0000{k}.mp3", None, "the clip has no sound file", None, None] for k in range(3)
    ]
    assert rows[4][:2] == ["F105", "raw/Thumbs.db"]
    assert dict(page.data["codes"]) == {code: CODES[code].severity for code in codes}


def test_what_a_person_reads_first(tmp_path: Path) -> None:
    write_findings_page(tmp_path / "page.html", report_of(2))
    text = " ".join(Page(tmp_path / "page.html").text.split())
    for words in (
        "1 error has to be fixed",
        "1 error 2 warnings 1 for information",
        "Folder /data/emi Challenge Hume-ABAW Emotional Mimicry Intensity Level quick: names and label files",
        "Layout two label files raw",
        "Clips 8,072 4,588 0 Video 8,072 all 4,500 88 lacking – What was found",
        f"L209 {CODES['L209'].meaning} error quick 1 M301",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("codes", "left_out", "verdict"),
    [
        ([], 0, "Nothing to fix"),
        (["F105"], 0, "Nothing to fix"),
        ([], 4, "No errors"),
        (["M301"], 0, "No errors, 1 warning"),
        (["M301"] * 1200, 0, "No errors, 1,200 warnings"),
        (["M301", "L209", "L209"], 0, "2 errors have to be fixed"),
    ],
)
def test_the_verdict(tmp_path: Path, codes: list[str], left_out: int, verdict: str) -> None:
    report = Report(left_out=left_out)
    for code in codes:
        report.add(code, "something")
    write_findings_page(tmp_path / "page.html", report)
    page = Page(tmp_path / "page.html")
    assert f"<h1>{verdict}</h1>" in page.source
    assert ("left out" in page.text) == (left_out > 0)


@pytest.mark.parametrize("report", [report_of(), hostile_report(), Report()], ids=["usual", "hostile", "empty"])
def test_the_page_loads_nothing_and_runs_only_its_own_script(tmp_path: Path, report: Report) -> None:
    write_findings_page(tmp_path / "page.html", report)
    page = Page(tmp_path / "page.html")
    assert [attributes.get("type") for tag, attributes in page.tags if tag == "script"] == ["application/json", None]
    for tag, attributes in page.tags:
        assert tag not in ("img", "link", "iframe", "object", "base", "b")
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "style", "action")}
        assert tag != "a" or attributes["href"] == "#all"
    policy = next(attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes)
    assert policy is not None and policy.startswith("default-src 'none'") and "unsafe" not in policy
    assert f"script-src '{sha256(page.scripts[1])}'" in policy and f"style-src '{sha256(page.styles)}'" in policy
    assert not set("\x00\x1b\u2028\u2029\u202e") & set(page.source)


def test_hostile_names_come_through_whole(tmp_path: Path) -> None:
    write_findings_page(tmp_path / "page.html", hostile_report())
    rows = Page(tmp_path / "page.html").data["rows"]
    assert [row[3] for row in rows] == HOSTILE and [row[4] for row in rows] == HOSTILE
    assert "\\x1b[31m" in rows[2][1]  # paths as everywhere else


def test_the_same_report_gives_the_same_bytes_and_half_a_page_is_never_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    write_findings_page(path, report_of())
    before = path.read_bytes()
    write_findings_page(path, report_of())
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
    with pytest.raises(AbawkitError):
        write_findings_page(path / "below.html", report_of())


def test_fifty_thousand_findings_stay_small(tmp_path: Path) -> None:
    write_findings_page(tmp_path / "page.html", report_of(50_000))
    assert (tmp_path / "page.html").stat().st_size < 100 * 50_000


def dom(path: Path) -> str:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium here")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={path.parent / 'profile'}"]
    done = subprocess.run([*command, "--dump-dom", path.as_uri()], capture_output=True, timeout=60, check=True)
    return done.stdout.decode()


def test_a_browser_draws_the_first_hundred_and_counts_all(tmp_path: Path) -> None:
    write_findings_page(tmp_path / "page.html", report_of(1998))
    drawn = dom(tmp_path / "page.html")
    assert '<output id="shown" aria-live="polite">2,000</output>' in drawn
    assert drawn.count('<li class="warning"><p class="mark">') in range(99, 1000)


def test_a_browser_runs_nothing_of_a_hostile_name(tmp_path: Path) -> None:
    write_findings_page(tmp_path / "page.html", hostile_report())
    drawn = dom(tmp_path / "page.html")
    assert "<title>No errors, 6 warnings" in drawn
    assert "<img" not in drawn and "\u202e" not in drawn
    assert drawn.count('<li class="warning"><p class="mark">') == len(HOSTILE)

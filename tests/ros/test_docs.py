"""Documentation agrees with the code: the reference is what the code says now, and quoted messages are ones that it prints."""

import re
import runpy
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def test_the_reference_is_up_to_date():
    page = runpy.run_path(str(DOCS / "generate_reference.py"))["page"]()
    assert (DOCS / "reference.md").read_text() == page, "run: python docs/generate_reference.py"


def quoted_messages() -> list[str]:
    rows = (DOCS / "troubleshooting.md").read_text().split("## What you see")[0].splitlines()
    return [match[1] for row in rows if (match := re.match(r"\| `(.+?)` \|", row))]


@pytest.mark.parametrize("message", quoted_messages())
def test_the_node_prints_what_troubleshooting_quotes(message):
    """Up to what is filled in: a message split over lines of source is compared without its quotes and braces."""
    source = "".join(path.read_text() for path in (ROOT / "hmr_ros").rglob("*.py"))
    joined = re.sub(r'"\s*\n\s*f?"', "", source)
    values = re.sub(r"\{_FIXED\}", "takes effect at configure; cannot change while configured", joined)
    assert message in values


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([\w./]+\.md)", page.read_text()):
        assert (page.parent / target).is_file(), target


def robustness_rows() -> list[tuple[str, str]]:
    """(what you see, the tests named) of every row of docs/robustness.md."""
    rows = [row.split(" | ") for row in (DOCS / "robustness.md").read_text().splitlines() if row.startswith("| ")]
    return [(row[2], row[3]) for row in rows if len(row) == 4 and "test_" in row[3]]


def test_every_row_of_bad_luck_has_a_test_and_its_words():
    rows = robustness_rows()
    assert len(rows) > 30
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", "".join(path.read_text() for path in (ROOT / "hmr_ros").rglob("*.py")))
    for seen, named in rows:
        for test in re.findall(r"test_\w+(?!\w|\.py)", named):
            assert f"def {test}(" in tests or f"{test}.py" in named, test
        for words in (quoted for quoted in seen.split("`")[1::2] if " " in quoted):
            assert words in source or words.rstrip(":") in source, words

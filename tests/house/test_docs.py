"""The pages say what the code says, and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fin_infra import docs
from fin_infra.datasets import DATASETS, dataset
from fin_infra.errors import CODES
from fin_infra.planning import load_schedules
from fin_infra.providers import DOMAINS, PROVIDERS, resolve
from fin_infra.settings import Settings

LINK = re.compile(r"\]\(([^)\s]+)\)")


def test_pages_made_from_the_code_are_up_to_date(root: Path) -> None:
    assert docs.stale(root / "docs") == [], "run make docs"


def test_a_changed_page_a_missing_one_and_one_too_many_are_stale(tmp_path: Path) -> None:
    assert docs.main(["--folder", str(tmp_path)]) == 0
    assert docs.stale(tmp_path) == []
    (tmp_path / "datasets/accounts.md").write_text("edited by hand\n")
    (tmp_path / "reference/errors.md").unlink()
    (tmp_path / "datasets/gone.md").write_text("of a dataset that is no more\n")
    assert docs.stale(tmp_path) == ["datasets/accounts.md", "datasets/gone.md", "reference/errors.md"]
    assert docs.main(["--check", "--folder", str(tmp_path)]) == 1
    assert docs.main(["--folder", str(tmp_path)]) == 0
    assert docs.stale(tmp_path) == []
    assert docs.main(["--check", "--folder", str(tmp_path)]) == 0


def test_pages_are_the_same_every_time_and_end_with_a_newline() -> None:
    first = docs.pages()
    assert first == docs.pages()
    for name, text in first.items():
        assert text.startswith(docs.HEADER + "\n"), name
        assert text.endswith("\n"), name
        assert not text.endswith("\n\n"), name


def test_nothing_declared_is_left_out() -> None:
    pages = docs.pages()
    for name in DATASETS:
        for column in dataset(name).column_names():
            assert f"{column}" in pages[f"datasets/{name}.md"]
    for code in CODES:
        assert f"`{code}`" in pages["reference/errors.md"], code
    assert set(docs.OUTCOMES) == {code.outcome for code in CODES.values()}
    for field in Settings.model_fields:
        assert f"`FIN_INFRA_{field.upper()}`" in pages["reference/settings.md"], field


def test_every_column_of_every_dataset_says_what_it_means() -> None:
    silent = [
        f"{name}.{column}"
        for name in DATASETS
        for column, spec in dataset(name).columns().items()
        if not spec.description or (spec.nullable and not (spec.metadata or {}).get("null"))
    ]
    assert silent == []


def test_the_example_schedules_are_good(tmp_path: Path) -> None:
    (tmp_path / "example.yaml").write_text(docs.SCHEDULE_EXAMPLE)
    jobs = {"sync_transactions": "transactions", "sync_accounts": "accounts"}
    assert [schedule.name for schedule in load_schedules(tmp_path, jobs)] == [
        "banks", "one-customer", "after-new-york", "evenings",
    ]  # fmt: skip


def test_vendors_on_disk_are_registered_and_documented(root: Path) -> None:
    """A folder with nothing but a vendor's spelling of instruments is no provider yet: its adapter follows."""
    folders = {path.parent.name for path in (root / "fin_infra/providers").glob("*/client.py")}
    registered = {name.partition(".")[0] for name in PROVIDERS}  # one folder may have several: ccxt.kraken
    assert folders == registered == {path.stem for path in (root / "docs/providers").glob("*.md")}


def test_the_domains_of_the_registry_are_those_the_vendors_declare() -> None:
    declared: dict[str, tuple[str, ...]] = {}
    for name in PROVIDERS:
        provider = resolve(name)
        assert provider.name == name
        for domain, datasets in provider.domains.items():
            declared[domain] = (*declared.get(domain, ()), name)
            assert set(datasets) <= set(provider.datasets), f"{domain}:{name}"
    assert {domain: sorted(names) for domain, names in declared.items()} == {
        domain: sorted(names) for domain, names in DOMAINS.items()
    }


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_vendors_page_names_every_code_it_can_refuse_with(root: Path, name: str) -> None:
    page = (root / f"docs/providers/{name.partition('.')[0]}.md").read_text(encoding="utf-8")
    table = [line for line in page.splitlines() if line.startswith("|")]
    for refusal in resolve(name).refusals:
        row = [line for line in table if f"| {refusal.status} |" in line and f"`{refusal.code}`" in line]
        assert any(not refusal.word or f"`{refusal.word}`" in line for line in row), refusal


def test_every_decision_says_what_of_svc_infra_was_looked_at(root: Path) -> None:
    pages = sorted((root / "docs/adr").glob("*.md"))
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for heading in ("Status", "Context", "Decision", "Consequences", "svc-infra Reuse Assessment"):
            assert f"\n## {heading}\n" in text, f"{page.name}: {heading}"


def test_every_relative_link_leads_to_a_file(root: Path) -> None:
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    links = [
        (page, link.partition("#")[0])
        for page in pages
        for link in LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in link and not link.startswith(("#", "mailto:"))
    ]
    assert len(links) > 10
    dead = [f"{page.relative_to(root)}: {link}" for page, link in links if not (page.parent / link).is_file()]
    assert dead == []


def test_only_files_in_docs_that_somebody_can_find(root: Path) -> None:
    """Every page is a link away from the README or from another page, or made from the code."""
    pages = {path.resolve() for path in (root / "docs").rglob("*.md")}
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in [root / "README.md", *pages]
        for link in LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in link
    }
    made = {(root / "docs" / name).resolve() for name in docs.pages()}
    assert sorted(path.relative_to(root).as_posix() for path in pages - linked - made) == []

"""The registry: built in, brought by a package, mapped in a file; switched on and off; defaults and who stands in."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fin_infra.connections import Connections, open_vault
from fin_infra.errors import UsageError
from fin_infra.providers import DOMAINS, REGISTRY, declared, names, resolve
from fin_infra.settings import Settings
from fin_infra.store import open_store
from tests.guards import guarded

ADAPTER = """
from fin_infra.providers.base import Provider, nobody

PROVIDER = Provider(
    name="{name}", title="Acme", base_url="http://127.0.0.1:9", domains={{"banking": (), "lending": ()}}, auth=nobody,
    secrets=(), refusals=(), refusal_word=lambda body: None, sources=(),
)
"""
POINTS = "[fin_infra.providers]\nacme = acme_adapter:PROVIDER\n"


def install(folder: Path, name: str = "acme", points: str = POINTS) -> None:
    """A tiny package as an installer leaves it: a module and its metadata."""
    (folder / "acme_adapter.py").write_text(ADAPTER.format(name=name))
    meta = folder / "acme_finance-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-finance\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text(points)


def told(code: str, site: Path, **environment: str) -> str:
    """What a fresh process says that has the package on its path."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, timeout=60,
        env={"PYTHONPATH": str(site), "PATH": "", **environment}, cwd=site,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_package_brings_a_vendor_that_is_then_one_like_any_other(tmp_path: Path) -> None:
    install(tmp_path)
    said = told(
        """
        import fin_infra
        from fin_infra.providers import REGISTRY
        found = fin_infra.resolve("banking:acme")
        print(found.title, fin_infra.resolve("acme") is found, fin_infra.resolve("lending").name)
        print(REGISTRY.entries()["acme"].origin, REGISTRY.names()[-1])
        """,
        tmp_path,
    )
    assert said == "Acme True acme\nof the package acme-finance acme"


def test_a_package_of_a_domain_it_does_not_serve_is_listed_where_it_is(tmp_path: Path) -> None:
    install(tmp_path)
    said = told(
        """
        import fin_infra
        try:
            fin_infra.resolve("market:acme")
        except fin_infra.errors.UsageError as error:
            print(error)
        """,
        tmp_path,
    )
    assert said.startswith("no provider 'market:acme'")
    assert "lending:acme" in said


@pytest.mark.parametrize(
    ("name", "points", "sentence"),
    [
        ("other", POINTS, "calls itself 'other'; rows are stored under that name, so the two must be the same"),
        ("acme", "[fin_infra.providers]\nacme = acme_adapter:NOTHING\n", "cannot be loaded: module 'acme_adapter' has"),
        ("acme", "[fin_infra.providers]\nacme = gone:PROVIDER\n", "cannot be loaded: No module named 'gone'; install"),
        ("acme", "[fin_infra.providers]\nacme = json:loads\n", "json:loads is no Provider"),
    ],
)
def test_a_package_that_is_broken_is_a_sentence_and_stops_no_other(
    name: str, points: str, sentence: str, tmp_path: Path
) -> None:
    install(tmp_path, name, points)
    said = told(
        """
        import fin_infra
        try:
            fin_infra.resolve("acme")
        except fin_infra.errors.UsageError as error:
            print(error)
        print(fin_infra.resolve("banking").name)
        """,
        tmp_path,
    )
    assert sentence in said
    assert "of the package acme-finance" in said
    assert said.endswith("teller")


def test_a_package_takes_no_built_in_vendors_place_but_the_file_may_give_it(tmp_path: Path) -> None:
    install(tmp_path, "teller", "[fin_infra.providers]\nteller = acme_adapter:PROVIDER\n")
    code = "import fin_infra; print(fin_infra.resolve('banking:teller').title)"
    assert told(code, tmp_path) == "Teller"
    (tmp_path / "providers.yaml").write_text('providers: {teller: {class: "acme_adapter:PROVIDER"}}\n')
    assert told(code, tmp_path) == "Acme"


@guarded(
    "what is off is found by nobody",
    "providers/registry.py",
    "if (why := self.off(vendor)) is not None:",
    "if (why := None) is not None:",
)
def test_what_is_off_is_a_sentence_that_lists_what_is_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("providers.yaml").write_text("providers: {plaid: {enabled: false}}\n")
    with pytest.raises(
        UsageError, match=r"provider .plaid. is off: providers\.yaml says enabled: false; there are: "
    ) as e:
        resolve("banking:plaid")
    assert "banking:plaid" not in str(e.value).partition("there are:")[2]
    assert declared("plaid").name == "plaid"
    assert "plaid" in names()
    monkeypatch.setenv("FIN_INFRA_PLAID_ENABLED", "1")  # the environment wins
    assert resolve("banking:plaid").name == "plaid"
    monkeypatch.setenv("FIN_INFRA_PLAID_ENABLED", "perhaps")
    with pytest.raises(UsageError, match="FIN_INFRA_PLAID_ENABLED is wrong: 'perhaps' is neither 1 nor 0"):
        resolve("banking:plaid")


def test_a_switch_may_stand_in_the_env_file_and_is_seen_when_that_changes() -> None:
    assert resolve("banking:plaid").name == "plaid"
    Path(".env").write_text("FIN_INFRA_PLAID_ENABLED=off\n")
    with pytest.raises(UsageError, match="FIN_INFRA_PLAID_ENABLED says so"):
        resolve("banking:plaid")
    Path(".env").write_text("FIN_INFRA_PLAID_ENABLED=on # again\n")
    assert resolve("banking:plaid").name == "plaid"


def test_the_default_of_a_domain_is_the_first_that_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for domain, vendors in DOMAINS.items():
        assert resolve(domain).name == vendors[0]
    monkeypatch.setenv("FIN_INFRA_TELLER_ENABLED", "0")
    assert resolve("banking").name == DOMAINS["banking"][1]
    Path("providers.yaml").write_text("defaults: {fx: frankfurter}\n")
    assert resolve("fx").name == "frankfurter"
    for name in DOMAINS["fx"]:
        monkeypatch.setenv(f"FIN_INFRA_{name.upper()}_ENABLED", "0")
    with pytest.raises(UsageError, match="no provider of fx is on; there are: "):
        resolve("fx")


def test_an_alias_finds_and_is_never_stored() -> None:
    assert resolve("fx:exchangerate").name == "exchangerate_api"
    assert "exchangerate" not in names()


def test_who_stands_in_for_whom_is_the_files_word() -> None:
    assert REGISTRY.order("fx_rates") == ()
    Path("providers.yaml").write_text("fallback: {fx_rates: [ecb, frankfurter]}\n")
    assert REGISTRY.order("fx_rates") == ("ecb", "frankfurter")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("provider: {}", "provider is no section; there are: providers, defaults, fallback"),
        ("- a", "the file is no section"),
        ("providers: [a]", "providers: ['a'] is not a mapping"),
        ("providers: {Acme: {}}", "'Acme' is not a vendor's name like acme"),
        ("providers: {acme: {enabled: maybe}}", "providers.acme.enabled: 'maybe' is not true or false"),
        ("providers: {acme: {class: nowhere}}", "providers.acme.class: 'nowhere' is not module:ATTRIBUTE"),
        ("providers: {acme: {path: x}}", "is not made of class and enabled"),
        ("defaults: {banking: 3}", "defaults.banking: 3 is not a vendor's name"),
        ("fallback: {prices: yahoo}", "fallback.prices: 'yahoo' is not a list of vendors' names"),
        ("providers: {", "providers.yaml:2 is no YAML"),
    ],
)
def test_a_wrong_file_says_what_where_and_what_is_allowed(text: str, sentence: str) -> None:
    Path("providers.yaml").write_text(text + "\n")
    with pytest.raises(UsageError) as error:
        resolve("banking:teller")
    assert sentence in str(error.value)
    assert "providers.yaml" in str(error.value)


def test_a_file_that_is_named_and_missing_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_INFRA_PROVIDERS_FILE", "elsewhere.yaml")
    with pytest.raises(UsageError, match=r"FIN_INFRA_PROVIDERS_FILE: there is no file elsewhere\.yaml"):
        resolve("banking:teller")


def test_who_is_off_is_not_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(f"sqlite:///{tmp_path}/fin.db")
    connections = Connections(store, open_vault(Settings.load()))
    monkeypatch.setenv("FIN_INFRA_TELLER_ENABLED", "0")
    with pytest.raises(UsageError, match="teller cannot be linked: FIN_INFRA_TELLER_ENABLED says so"):
        connections.add(declared("teller"), {"access_token": "test_token"}, tenant="t")
    store.close()

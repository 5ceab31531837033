"""Which vendors there are: built in, brought by other packages, or mapped in `providers.yaml`; which of them are on.

`providers.yaml` lies in the project's folder, or where `FIN_INFRA_PROVIDERS_FILE` says:

    providers:
      acme: {class: "acme.adapter:PROVIDER"}   # an adapter of one's own; also in place of a built-in one
      plaid: {enabled: false}                  # switched off: not linked, not asked, and said so
    defaults:
      banking: acme                            # what `resolve("banking")` gives
    fallback:
      prices: [alphavantage, yahoo]            # the second is asked for what the first does not bring

Another package brings a vendor by an entry point of the group `fin_infra.providers`: its name is the vendor's, its
value `module:ATTRIBUTE`, a `Provider`. A switch in the environment, `FIN_INFRA_<VENDOR>_ENABLED=0`, wins over the file.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_infra.errors import UsageError

if TYPE_CHECKING:
    from fin_infra.providers.base import Provider

GROUP = "fin_infra.providers"
FILE = "providers.yaml"
NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)?")
TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
SECTIONS = ("providers", "defaults", "fallback")
SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class Entry:
    """A vendor that can be had: `target` is `module:ATTRIBUTE`, `origin` where it was found, for people."""

    name: str
    target: str
    origin: str


@dataclass(frozen=True)
class Mapped:
    """What `providers.yaml` says."""

    entries: tuple[Entry, ...] = ()
    switches: Mapping[str, bool] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    fallback: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Registry:
    """All vendors of one environment. `built_in`: name → `module:ATTRIBUTE`; `domains`: which of those serve which;
    `fallback`: by dataset, who is asked for what the ones before it do not bring; `aliases`: other names by which some
    are asked for, never stored."""

    def __init__(
        self, built_in: Mapping[str, str], domains: Mapping[str, Sequence[str]],
        fallback: Mapping[str, Sequence[str]], aliases: Mapping[str, str],
    ) -> None:  # fmt: skip
        self._built_in = built_in
        self._domains = domains
        self._fallback = fallback
        self._aliases = aliases

    def entries(self) -> dict[str, Entry]:
        """All of them by name, those that are switched off too; what is mapped comes before what is built in, and that
        before what a package brings."""
        found = {name: Entry(name, target, "built in") for name, target in self._built_in.items()}
        for entry in _brought():
            found.setdefault(entry.name, entry)
        found.update({entry.name: entry for entry in _mapped().entries})
        return found

    def names(self) -> list[str]:
        """The names of all, in the order of preference: built-in ones first."""
        return list(self.entries())

    def declared(self, name: str) -> Provider:
        """The declaration of a vendor by its stored name, switched off or not. Raises `UsageError`."""
        entry = self.entries().get(name)
        if entry is None:
            raise self._unknown(name)
        return _load(entry)

    def resolve(self, name: str) -> Provider:
        """See `fin_infra.providers.resolve`."""
        domain, _, vendor = name.rpartition(":")
        vendor = self._aliases.get(vendor, vendor)
        if not domain and vendor not in self.entries() and vendor in self._all_domains():
            return self._default(vendor)
        if vendor not in self.entries():
            raise self._unknown(name)
        if (why := self.off(vendor)) is not None:
            raise UsageError(f"provider {vendor!r} is off: {why}; there are: {', '.join(self._shown())}")
        found = self.declared(vendor)
        if domain and domain not in found.domains:
            raise self._unknown(name)
        return found

    def off(self, name: str) -> str | None:
        """Why a vendor is switched off; None when it is not."""
        variable = _variable(name)
        said = _value(variable)
        if said and said.strip().lower() not in SWITCH:
            raise UsageError(f"setting {variable} is wrong: {said.strip()!r} is neither 1 nor 0")
        if said and said.strip():
            return None if SWITCH[said.strip().lower()] else f"{variable} says so"
        return None if _mapped().switches.get(name, True) else f"{_file()} says enabled: false"

    def unlinkable(self, provider: Provider) -> str | None:
        """Why no link to it may be made: it is off, or its terms want to be read first. None when it may."""
        if (why := self.off(provider.name)) is not None:
            return why
        if not provider.opt_in or _value(_variable(provider.name)) or _mapped().switches.get(provider.name):
            return None
        return f"read its terms (fin-infra providers show {provider.name}), then set {_variable(provider.name)}=1"

    def order(self, dataset: str) -> tuple[str, ...]:
        """Who is asked for a dataset when the ones before it do not bring it; () where nobody stands in for another."""
        mapped = _mapped().fallback
        return tuple(mapped[dataset] if dataset in mapped else self._fallback.get(dataset, ()))

    def _default(self, domain: str) -> Provider:
        """The first of a domain that is on and can be loaded; what stands in `defaults` before all others."""
        mapped = _mapped().defaults.get(domain)
        tried = dict.fromkeys([*([mapped] if mapped else []), *self._domains.get(domain, ()), *self._others(domain)])
        failed: UsageError | None = None
        for name in tried:
            if name in self.entries() and self.off(name) is None:
                try:
                    return self.declared(name)
                except UsageError as error:
                    failed = failed or error
        raise failed or UsageError(f"no provider of {domain} is on; there are: {', '.join(self._shown())}")

    def _others(self, domain: str) -> Iterable[str]:
        """Vendors of a domain that are not built in: which they are, their declarations say."""
        for name, entry in self.entries().items():
            if entry.origin != "built in" and domain in _domains_of(entry):
                yield name

    def _all_domains(self) -> set[str]:
        return {*self._domains, *(d for e in self.entries().values() if e.origin != "built in" for d in _domains_of(e))}

    def _shown(self) -> list[str]:
        """All that are on, each with its domains."""
        shown = []
        for name, entry in self.entries().items():
            if self.off(name) is None:
                domains = [d for d, names in self._domains.items() if name in names]
                shown += [f"{d}:{name}" for d in (domains if entry.origin == "built in" else _domains_of(entry))]
        return shown

    def _unknown(self, name: str) -> UsageError:
        shown = self._shown()
        close = difflib.get_close_matches(name, [*shown, *self.entries(), *self._domains], n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        return UsageError(f"no provider {name!r}{hint}; there are: {', '.join(shown)}")


def _domains_of(entry: Entry) -> tuple[str, ...]:
    """The domains of a vendor that is not built in; () of one that cannot be loaded."""
    try:
        return tuple(_load(entry).domains)
    except UsageError:
        return ()


@lru_cache(maxsize=256)
def _load(entry: Entry) -> Provider:
    from fin_infra.providers.base import Provider

    module, _, attribute = entry.target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise UsageError(
            f"provider {entry.name!r} ({entry.origin}, {entry.target}) cannot be loaded: {error}; "
            f"install what it needs, or switch it off with {_variable(entry.name)}=0"
        ) from None
    if not isinstance(found, Provider):
        raise UsageError(f"provider {entry.name!r} ({entry.origin}): {entry.target} is no Provider")
    if found.name != entry.name:
        raise UsageError(
            f"provider {entry.name!r} ({entry.origin}) calls itself {found.name!r}; rows are stored under that name, "
            "so the two must be the same"
        )
    return found


@lru_cache(maxsize=1)
def _brought() -> tuple[Entry, ...]:
    """What installed packages bring, in the order of their names. Looked up once: an install needs a new process."""
    found = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        package = f"of the package {point.dist.name}" if point.dist else "of a package"
        if NAME.fullmatch(point.name) and TARGET.fullmatch(point.value):
            found.append(Entry(point.name, point.value, package))
    return tuple(found)


# -- the file ----------------------------------------------------------------------------------------------------------


def _variable(name: str) -> str:
    return f"FIN_INFRA_{name.replace('.', '_').upper()}_ENABLED"


def _value(variable: str) -> str | None:
    """A setting that is asked for with every job: the environment's, else that of `.env`, which is read when it
    changed."""
    if variable in os.environ:
        return os.environ[variable]
    stamp = _stamp(Path(".env"))
    return None if stamp is None else _env_file(stamp).get(variable)


Stamp = tuple[str, int, int]
"""A file as it is now: path, time of change, size."""


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return str(path.absolute()), found.st_mtime_ns, found.st_size


@lru_cache(maxsize=8)
def _env_file(stamp: Stamp) -> Mapping[str, str | None]:
    from dotenv import dotenv_values

    return dotenv_values(stamp[0])


def _file() -> Path:
    told = _value("FIN_INFRA_PROVIDERS_FILE")
    return Path(told) if told else Path(_value("FIN_INFRA_PROJECT") or ".") / FILE


def _mapped() -> Mapped:
    path = _file()
    stamp = _stamp(path)
    if stamp is None:
        if told := _value("FIN_INFRA_PROVIDERS_FILE"):
            raise UsageError(f"FIN_INFRA_PROVIDERS_FILE: there is no file {told}")
        return Mapped()
    return _read(stamp)


@lru_cache(maxsize=8)
def _read(stamp: Stamp) -> Mapped:
    """The file, checked. Raises `UsageError` that names file, place and what is allowed."""
    import yaml

    path = stamp[0]
    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f":{line + 1}" if line is not None else ""
        raise UsageError(f"{path}{where} is no YAML: {getattr(error, 'problem', None) or 'unreadable'}") from None

    def told(place: str, value: Any, allowed: str) -> UsageError:
        return UsageError(f"{path}: {place}: {value!r} is not {allowed}")

    if not isinstance(value, dict) or not set(value) <= set(SECTIONS):
        wrong = (
            next((str(k) for k in value if k not in SECTIONS), "the file") if isinstance(value, dict) else "the file"
        )
        raise UsageError(f"{path}: {wrong} is no section; there are: {', '.join(SECTIONS)}")
    entries, switches = [], {}
    for name, said in _section(value, "providers", told).items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise told("providers", name, "a vendor's name like acme")
        if not isinstance(said, dict) or not set(said) <= {"class", "enabled"}:
            raise told(f"providers.{name}", said, "made of class and enabled")
        if "class" in said:
            if not isinstance(said["class"], str) or not TARGET.fullmatch(said["class"]):
                raise told(f"providers.{name}.class", said["class"], "module:ATTRIBUTE")
            entries.append(Entry(name, said["class"], f"mapped in {Path(path).name}"))
        if "enabled" in said:
            if not isinstance(said["enabled"], bool):
                raise told(f"providers.{name}.enabled", said["enabled"], "true or false")
            switches[name] = said["enabled"]
    defaults = {}
    for domain, name in _section(value, "defaults", told).items():
        if not isinstance(name, str):
            raise told(f"defaults.{domain}", name, "a vendor's name")
        defaults[str(domain)] = name
    fallback = {}
    for dataset, names in _section(value, "fallback", told).items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise told(f"fallback.{dataset}", names, "a list of vendors' names")
        fallback[str(dataset)] = tuple(names)
    return Mapped(tuple(entries), switches, defaults, fallback)


def _section(value: Mapping[str, Any], name: str, told: Any) -> Mapping[Any, Any]:
    found = value.get(name) or {}
    if not isinstance(found, dict):
        raise told(name, found, "a mapping")
    return found

"""CoinGecko's ids ↔ InstrumentKey: `crypto:` is made of them. Its list of coins leads from contracts to ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from fin_infra.instruments.key import InstrumentKey
from fin_infra.instruments.known import coin_of
from fin_infra.instruments.notation import Context, Notation
from fin_infra.providers.coingecko.wire import Coin

_ID = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
_ASSET = re.compile(r"(?P<chain>[^/]+)/(?P<kind>erc20|bep20|token):(?P<address>[^/]+)")

PLATFORMS: Mapping[str, str] = {
    "ethereum": "eip155:1", "optimistic-ethereum": "eip155:10", "cronos": "eip155:25",
    "binance-smart-chain": "eip155:56",
    "xdai": "eip155:100", "polygon-pos": "eip155:137", "fantom": "eip155:250", "zksync": "eip155:324",
    "mantle": "eip155:5000", "base": "eip155:8453", "arbitrum-one": "eip155:42161", "celo": "eip155:42220",
    "avalanche": "eip155:43114", "linea": "eip155:59144", "blast": "eip155:81457", "scroll": "eip155:534352",
    "solana": "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp",
}  # fmt: skip
"""CoinGecko's names of chains → CAIP-2. Source: `chain_identifier` of its /asset_platforms, the chain's id in the
registry of Ethereum-like chains; of Solana the begin of the genesis block's hash (namespaces.chainagnostic.org)."""


def to_coingecko(key: InstrumentKey) -> str | None:
    """`crypto:bitcoin` → `bitcoin`; None for all that is no coin."""
    return key.symbol if key.namespace == "crypto" else None


def from_coingecko(symbol: str, context: Context = Context()) -> str | None:  # noqa: B008 - immutable
    """The way back. An id, never a ticker: `BTC` names several coins."""
    return f"crypto:{symbol}" if _ID.fullmatch(symbol) else None


def ticker(instrument: str) -> str | None:
    """By what a coin is asked for: its id; of a contract that is not among the well-known ones, chain and contract,
    which are looked up in the list of all coins. None for all that is no coin."""
    namespace, _, symbol = instrument.partition(":")
    if namespace == "crypto":
        return symbol
    if namespace != "caip19":
        return None
    contract = _contract(symbol)
    return coin_of(symbol, "caip19") or (contract if contract and _chain(contract) in _CHAINS else None)


def is_contract(ticker: str) -> bool:
    """Whether a ticker is no id yet."""
    return "/" in ticker


def by_contract(coins: Iterable[Coin]) -> dict[str, str]:
    """Chain and contract → id. A contract that two coins claim leads to none."""
    return _unambiguous(
        (f"{PLATFORMS[platform]}/{_cased(PLATFORMS[platform], address.strip())}", coin.id)
        for coin in coins
        for platform, address in coin.platforms.items()
        if platform in PLATFORMS and address and address.strip()
    )


def by_symbol(coins: Sequence[Coin]) -> dict[str, str]:
    """Ticker in lower case → id, of those tickers that one coin alone has. Most well-known ones have imitators."""
    return _unambiguous((coin.symbol.lower(), coin.id) for coin in coins)


def _unambiguous(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for name, coin in pairs:
        found.setdefault(name, set()).add(coin)
    return {name: next(iter(ids)) for name, ids in found.items() if len(ids) == 1}


def _contract(symbol: str) -> str | None:
    """`eip155:1/erc20:0xA0b8…` → `eip155:1/0xa0b8…`."""
    if (asset := _ASSET.fullmatch(symbol)) is None:
        return None
    return f"{asset['chain']}/{_cased(asset['chain'], asset['address'])}"


def _cased(chain: str, address: str) -> str:
    """Addresses of Ethereum-like chains in lower case: their capitals are a checksum."""
    return address.lower() if chain.startswith("eip155:") else address


def _chain(contract: str) -> str:
    return contract.partition("/")[0]


_CHAINS = frozenset(PLATFORMS.values())
NOTATION = Notation(to_coingecko, from_coingecko)

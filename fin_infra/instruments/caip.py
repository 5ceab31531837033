"""CAIP-19, a name of a token by its chain and contract: https://chainagnostic.org/CAIPs/caip-19."""

from __future__ import annotations

import re

from fin_infra.errors import UsageError

_CAIP19 = re.compile(
    r"(?P<chain>[-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32})/(?P<kind>[-a-z0-9]{3,8}):(?P<asset>[-.%a-zA-Z0-9]{1,128})"
    r"(?:/(?P<token>[-.%a-zA-Z0-9]{1,78}))?"
)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_CONTRACTS = ("erc20", "erc721", "erc1155", "bep20")


def caip19(text: str) -> str:
    """The name as it is kept: an address of an Ethereum-like chain in lower case, all else as it is.

    Mixed case is a checksum (EIP-55), and a wrong one is refused: somebody mistyped it. Raises `UsageError`.
    """
    if (found := _CAIP19.fullmatch(text)) is None:
        raise UsageError(
            f"caip19:{text} is no instrument; write chain and asset, like caip19:eip155:1/erc20:0xa0b8…eb48"
        )
    asset = found["asset"]
    if not found["chain"].startswith("eip155:") or found["kind"] not in _CONTRACTS:
        return text
    if _ADDRESS.fullmatch(asset) is None:
        raise UsageError(f"caip19:{text} is no instrument: {asset!r} is no address, which has 0x and 40 digits")
    if asset[2:] not in (asset[2:].lower(), asset[2:].upper()) and checksummed(asset) != asset:
        raise UsageError(f"caip19:{text} is no instrument: the capitals of {asset!r} are not its checksum (EIP-55)")
    return text[: found.start("asset")] + asset.lower() + text[found.end("asset") :]


def checksummed(address: str) -> str:
    """An address with the capitals of EIP-55: https://eips.ethereum.org/EIPS/eip-55."""
    digits = address[2:].lower()
    digest = keccak256(digits.encode("ascii")).hex()
    return "0x" + "".join(c.upper() if int(h, 16) >= 8 else c for c, h in zip(digits, digest, strict=False))


# -- Keccak-256 as Ethereum has it: hashlib's SHA3-256 pads otherwise ------------------------------------------------

_RATE = 136
_MASK = (1 << 64) - 1


def keccak256(data: bytes) -> bytes:
    padded = bytearray(data) + bytes(_RATE - len(data) % _RATE)
    padded[len(data)] ^= 0x01
    padded[-1] ^= 0x80
    state = [0] * 25
    for start in range(0, len(padded), _RATE):
        for lane in range(_RATE // 8):
            begin = start + 8 * lane
            state[lane] ^= int.from_bytes(padded[begin : begin + 8], "little")
        state = _permuted(state)
    return b"".join(lane.to_bytes(8, "little") for lane in state[:4])


def _permuted(a: list[int]) -> list[int]:
    """Keccak-f[1600], see https://keccak.team/keccak_specs_summary.html; lane (x, y) is at x + 5 y."""
    lfsr = 1
    for _ in range(24):
        c = [a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20] for x in range(5)]
        d = [c[x - 1] ^ _turned(c[(x + 1) % 5], 1) for x in range(5)]
        a = [lane ^ d[at % 5] for at, lane in enumerate(a)]
        x, y, current = 1, 0, a[1]
        for t in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            current, a[x + 5 * y] = a[x + 5 * y], _turned(current, (t + 1) * (t + 2) // 2)
        for row in range(0, 25, 5):
            lanes = a[row : row + 5]
            for x in range(5):
                a[row + x] = lanes[x] ^ (~lanes[(x + 1) % 5] & _MASK & lanes[(x + 2) % 5])
        for j in range(7):
            if lfsr & 1:
                a[0] ^= 1 << ((1 << j) - 1)
            lfsr = (lfsr << 1) ^ (0x171 if lfsr & 0x80 else 0)
    return a


def _turned(lane: int, by: int) -> int:
    by %= 64
    return ((lane << by) | (lane >> (64 - by))) & _MASK

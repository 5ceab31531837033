"""The vault: what must not be read by who finds the database file. Fernet, several keys, the newest first.

The key comes from `FIN_INFRA_VAULT_KEY`, or, for a store in a file, from a key file with mode 0600 that is made on
first use. A secret leaves this module only through `unseal`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from fin_infra.errors import StoreError, UsageError
from fin_infra.settings import Settings


class Vault:
    """Seals and unseals bytes. Its repr says nothing."""

    def __init__(self, keys: list[bytes]) -> None:
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError:
            raise UsageError(
                "a vault key is not a Fernet key (32 bytes, url-safe base64); correct FIN_INFRA_VAULT_KEY or the file"
            ) from None

    def __repr__(self) -> str:
        return "Vault(…)"

    def seal(self, plain: bytes) -> bytes:
        return self._fernet.encrypt(plain)

    def unseal(self, sealed: bytes) -> bytes:
        """Raises `UsageError` (`secret_unreadable`) when none of the keys fits."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            raise UsageError(
                "a stored secret cannot be decrypted with the vault keys at hand; put the key that sealed it back "
                "(FIN_INFRA_VAULT_KEY takes several, newest first), or relink the connection",
                code="secret_unreadable",
            ) from None

    def reseal(self, sealed: bytes) -> bytes:
        """The same secret under the newest key."""
        return self.seal(self.unseal(sealed))


def open_vault(settings: Settings) -> Vault:
    """The vault of these settings; makes the key file on first use when no key is set."""
    if settings.vault_key is not None:
        return Vault([key.strip().encode() for key in settings.vault_key.get_secret_value().split(",") if key.strip()])
    path = settings.effective_vault_key_file
    try:
        return Vault(_keys_in(path))
    except OSError as error:
        raise StoreError(
            f"the vault key file {path} cannot be used: {(error.strerror or str(error)).lower()}"
        ) from None


def _keys_in(path: Path) -> list[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _make(path)
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise UsageError(f"the vault key file {path} can be read by others (mode {mode:o}); chmod 600 it")
    keys = [line.strip() for line in path.read_bytes().splitlines() if line.strip()]
    if not keys:
        raise UsageError(f"the vault key file {path} is empty; put the key back, or remove the file to start anew")
    return keys


def _make(path: Path) -> None:
    """Written aside and linked into place: two processes starting at once agree on one key."""
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(Fernet.generate_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first: its key is the one
            os.link(aside, path)
    finally:
        aside.unlink()

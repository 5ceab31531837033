"""The vault: several keys, one of which sealed it; a key file nobody else may read, made once whoever starts."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from fin_infra.connections.vault import Vault, open_vault
from fin_infra.errors import StoreError, UsageError
from fin_infra.settings import Settings
from tests.unit.helpers import meet_at, one_sentence, seal_in_another_process


@pytest.fixture
def beside(tmp_path: Path) -> Settings:
    return Settings(store_url=f"sqlite:///{tmp_path / 'fin.db'}")


def key() -> str:
    return Fernet.generate_key().decode()


def keyed(*keys: str) -> Vault:
    return open_vault(Settings(vault_key=",".join(keys)))


def test_what_was_sealed_is_unsealed() -> None:
    vault = keyed(key())
    assert vault.unseal(vault.seal(b"\x00secret")) == b"\x00secret"
    assert b"secret" not in vault.seal(b"secret")


def test_rotation_opens_old_secrets_and_seals_with_the_newest_key() -> None:
    old, new = key(), key()
    sealed = keyed(old).seal(b"secret")
    both = keyed(new, old)
    assert both.unseal(sealed) == b"secret"
    assert keyed(new).unseal(both.seal(b"fresh")) == b"fresh"


def test_resealing_frees_a_secret_from_its_old_key() -> None:
    old, new = key(), key()
    resealed = keyed(new, old).reseal(keyed(old).seal(b"secret"))
    assert keyed(new).unseal(resealed) == b"secret"


@pytest.mark.parametrize("act", ["unseal", "reseal"])
def test_a_wrong_key_is_a_sentence_that_says_what_would_help(act: str) -> None:
    sealed = keyed(key()).seal(b"secret")
    with pytest.raises(UsageError, match="FIN_INFRA_VAULT_KEY") as wrong:
        getattr(keyed(key()), act)(sealed)
    assert wrong.value.code == "secret_unreadable"
    one_sentence(wrong.value)


@pytest.mark.parametrize("sealed", [b"", b"x", b"\xff" * 200])
def test_what_no_vault_sealed_is_a_sentence(sealed: bytes) -> None:
    with pytest.raises(UsageError):
        keyed(key()).unseal(sealed)


@pytest.mark.parametrize("wrong", ["hunter2", ",", "é" * 44, "A" * 43])
def test_a_key_that_is_none_is_a_sentence_without_it(wrong: str) -> None:
    with pytest.raises(UsageError, match="Fernet key") as refused:
        keyed(wrong)
    assert "hunter2" not in one_sentence(refused.value)
    assert refused.value.__cause__ is None


def test_no_repr_of_a_vault_shows_a_key() -> None:
    secret = key()
    assert secret not in repr(keyed(secret))


def test_the_key_file_is_made_once_for_its_owner_alone(beside: Settings, tmp_path: Path) -> None:
    old = os.umask(0o000)
    try:
        sealed = open_vault(beside).seal(b"secret")
    finally:
        os.umask(old)
    assert (tmp_path / "fin.key").stat().st_mode & 0o777 == 0o600
    assert open_vault(beside).unseal(sealed) == b"secret"
    assert [path.name for path in tmp_path.iterdir()] == ["fin.key"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604, 0o601])
def test_a_key_file_that_others_can_read_is_refused(beside: Settings, tmp_path: Path, mode: int) -> None:
    open_vault(beside)
    (tmp_path / "fin.key").chmod(mode)
    with pytest.raises(UsageError, match="chmod 600") as refused:
        open_vault(beside)
    one_sentence(refused.value)


def test_an_empty_key_file_is_refused_rather_than_filled(beside: Settings, tmp_path: Path) -> None:
    (tmp_path / "fin.key").touch(0o600)
    with pytest.raises(UsageError, match="is empty"):
        open_vault(beside)
    assert (tmp_path / "fin.key").read_bytes() == b""


def test_a_key_file_may_hold_several_keys(beside: Settings, tmp_path: Path) -> None:
    old, new = key(), key()
    (tmp_path / "fin.key").write_text(f"{new}\n\n{old}\n")
    (tmp_path / "fin.key").chmod(0o600)
    assert open_vault(beside).unseal(keyed(old).seal(b"x")) == b"x"


def test_a_key_file_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError) as refused:
        open_vault(Settings(vault_key_file=tmp_path / "file" / "fin.key"))
    one_sentence(refused.value)


def test_a_start_that_was_killed_halfway_does_not_stop_the_next(beside: Settings, tmp_path: Path) -> None:
    (tmp_path / f"fin.key.{os.getpid()}").touch(0o600)  # in a container every start has the same process id
    vault = open_vault(beside)
    assert vault.unseal(open_vault(beside).seal(b"x")) == b"x"


def test_eight_threads_that_start_at_once_agree_on_one_key(beside: Settings) -> None:
    for _ in range(5):
        beside.effective_vault_key_file.unlink(missing_ok=True)
        barrier, sealed, failed = threading.Barrier(8), list[bytes](), list[BaseException]()

        def start(
            barrier: threading.Barrier = barrier, sealed: list[bytes] = sealed, failed: list[BaseException] = failed
        ) -> None:
            barrier.wait(10)
            try:
                sealed.append(open_vault(beside).seal(b"secret"))
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=start) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert failed == []
        assert [open_vault(beside).unseal(one) for one in sealed] == [b"secret"] * 8


def test_eight_processes_that_start_at_once_agree_on_one_key(beside: Settings, tmp_path: Path) -> None:
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.unit.helpers"])
    barrier = context.Barrier(8)
    with ProcessPoolExecutor(8, mp_context=context, initializer=meet_at, initargs=(barrier,)) as pool:
        sealed = list(pool.map(seal_in_another_process, [str(tmp_path)] * 8))
    assert [open_vault(beside).unseal(one) for one in sealed] == [b"secret"] * 8
    assert [path.name for path in tmp_path.iterdir()] == ["fin.key"]

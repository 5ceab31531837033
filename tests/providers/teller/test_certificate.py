"""mTLS: the application's certificate goes to the bank, and what is wrong with it is one sentence."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fin_infra.providers.teller.simulator import TellerSimulator
from fin_infra.testing import serve
from tests.world import World, bought, checking


class Authority:
    """A certificate authority of this test alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        certificate = self._sign(self._name, self._key, ca=True)
        self.file = folder / "ca.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, ca=False)
        files = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
        )
        return builder.sign(self._key, hashes.SHA256())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def _sync(world: World, bank: TellerSimulator, authority: Authority) -> tuple[str, str]:
    server = authority.issue("server")
    options = {
        "ssl_certfile": str(server[0]), "ssl_keyfile": str(server[1]), "ssl_ca_certs": str(authority.file),
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
    }  # fmt: skip
    bank.enroll("tok", checking("acc_1", bought("txn_1")))
    with serve(bank, **options) as served:
        world.url = served.url
        await world.link()
        [report, *_] = await world.work()
    return report.outcome, report.error or ""


async def test_a_client_certificate_opens_the_bank(
    world: World, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = authority.issue("client")
    monkeypatch.setenv("FIN_INFRA_TELLER_CERTIFICATE", str(certificate))
    monkeypatch.setenv("FIN_INFRA_TELLER_PRIVATE_KEY", str(key))
    monkeypatch.setenv("FIN_INFRA_TELLER_CA", str(authority.file))
    outcome, _ = await _sync(world, world.bank, authority)
    assert outcome == "ok"
    assert world.ids() == ["txn_1"]


async def test_without_one_the_refusal_says_what_to_set(world: World) -> None:
    world.bank.needs_certificate = True
    world.bank.enroll("tok", checking("acc_1"))
    await world.link()
    report = (await world.work())[0]
    assert (report.outcome, report.error_code) == ("quarantine", "bad_request")
    assert "set FIN_INFRA_TELLER_CERTIFICATE and _PRIVATE_KEY" in (report.error or "")


@pytest.mark.parametrize(
    ("certificate", "key", "sentence"),
    [
        ("client", None, "set both FIN_INFRA_TELLER_CERTIFICATE and FIN_INFRA_TELLER_PRIVATE_KEY, or neither"),
        ("nowhere", "client", "there is no file"),
        ("client", "server", "are no certificate and key that belong together"),
    ],
)
async def test_a_wrong_pair_is_a_sentence(
    world: World, authority: Authority, monkeypatch: pytest.MonkeyPatch, certificate: str, key: str | None,
    sentence: str,
) -> None:  # fmt: skip
    authority.issue("client"), authority.issue("server")
    monkeypatch.setenv("FIN_INFRA_TELLER_CERTIFICATE", str(authority.folder / f"{certificate}.pem"))
    if key is not None:
        monkeypatch.setenv("FIN_INFRA_TELLER_PRIVATE_KEY", str(authority.folder / f"{key}.key"))
    world.bank.enroll("tok", checking("acc_1"))
    await world.link()
    report = (await world.work())[0]
    assert report.outcome == "park"
    assert sentence in (report.error or "")


async def test_a_bank_that_is_not_who_it_says_is_refused(
    world: World, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = authority.issue("client")
    monkeypatch.setenv("FIN_INFRA_TELLER_CERTIFICATE", str(certificate))
    monkeypatch.setenv("FIN_INFRA_TELLER_PRIVATE_KEY", str(key))
    outcome, error = await _sync(world, world.bank, authority)
    assert outcome == "park"
    assert "is not trusted" in error
    assert world.bank.requests == []

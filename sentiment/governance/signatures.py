"""Signatures of decisions: the ed25519 keys of an installation, and the file that travels beside a bundle's card.

signing/key.pem          signs; made when it is first needed, 0600 in a folder of 0700
signing/public/*.pem     the keys that are trusted, each named by its id
signature.json           in a bundle's folder: what was decided on it, and the signature
"""

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from sentiment.atomic_files import write_atomically
from sentiment.bundle.bundle import SIGNATURE_FILE as SIGNATURE_FILE  # noqa: PLC0414 - offered with the rest
from sentiment.errors import ConfigError, SignatureError
from sentiment.paths import CHECKOUT, locate_state, make_private_folder

SIGNING_KEY_VARIABLE = "SENTIMENT_SIGNING_KEY"
PUBLIC_KEYS_VARIABLE = "SENTIMENT_PUBLIC_KEYS"
KEY_FILE, PUBLIC_FOLDER = "key.pem", "public"
ID_LENGTH = 16
MAX_SIGNATURE_BYTES = 65_536
PEM = "-----BEGIN PUBLIC KEY-----"
# So that what was signed as one thing is never taken for another.
DECISION, LINE = b"sentigate decision\n", b"sentigate ledger line\n"

Verdict = Literal["passed", "forced"]
PublicKeys = Mapping[str, Ed25519PublicKey]


@dataclass(frozen=True)
class Statement:
    """What was decided on a bundle: its digest, the verdict and, where it was forced, why; when, and by which key."""

    digest: str
    verdict: Verdict
    reason: str
    candidate: str
    holdout_digest: str
    at: str
    key: str


@dataclass(frozen=True)
class SignedDecision:
    """A statement and its signature, base64."""

    statement: Statement
    signature: str


@dataclass(frozen=True)
class SigningKey:
    """The private key of an installation, and the id of its public one."""

    id: str
    private: Ed25519PrivateKey

    def sign(self, purpose: bytes, content: Mapping[str, object]) -> str:
        """Return the signature of a canonical JSON object, base64."""
        return base64.b64encode(self.private.sign(purpose + encode_canonical(content))).decode()


def encode_canonical(content: Mapping[str, object]) -> bytes:
    """Return the one JSON that these values have."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def is_signed(keys: PublicKeys, key: str, purpose: bytes, content: Mapping[str, object], signature: str) -> bool:
    """Return whether a trusted key signed this."""
    try:
        keys[key].verify(base64.b64decode(signature, validate=True), purpose + encode_canonical(content))
    except (KeyError, TypeError, ValueError, InvalidSignature):
        return False
    return True


def sign_decision(folder: Path, decided: Mapping[str, str], key: SigningKey) -> SignedDecision:
    """Write the signature of a decision beside the card of a bundle: all fields of a statement but the key."""
    statement = Statement(**decided, key=key.id)  # type: ignore[arg-type]
    signed = SignedDecision(statement, key.sign(DECISION, asdict(statement)))
    write_atomically(folder / SIGNATURE_FILE, json.dumps(asdict(signed), indent=2) + "\n")
    return signed


def verify_signature(folder: Path, digest: str, keys: PublicKeys) -> SignedDecision:
    """Return the decision on the bundle in `folder`, whose files have this digest.

    Raises SignatureError when no trusted key signed that they passed, or were forced.
    """
    again = "`make promote` signs what passed the gate"
    try:
        with (folder / SIGNATURE_FILE).open("rb") as file:
            found = json.loads(file.read(MAX_SIGNATURE_BYTES))
        statement = Statement(**found["statement"])
        signed = SignedDecision(statement, str(found["signature"]))
    except FileNotFoundError:
        raise SignatureError(
            f"the model {digest[:12]} has no {SIGNATURE_FILE}, so that nobody said that it passed the gate; {again}."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SignatureError(
            f"the {SIGNATURE_FILE} of the model {digest[:12]} cannot be read ({type(error).__name__}); {again} anew."
        ) from error
    if statement.digest != digest:
        raise SignatureError(
            f"the {SIGNATURE_FILE} beside the model {digest[:12]} is of another model, {str(statement.digest)[:12]};"
            f" {again}."
        )
    if statement.key not in keys:
        trusted = ", ".join(sorted(keys)) or "none"
        raise SignatureError(
            f"the model {digest[:12]} is signed by the key {str(statement.key)[:ID_LENGTH]!r}, which is not trusted"
            f" here; trusted: {trusted}. Add its public key, or take a model that a trusted key signed."
        )
    content = asdict(statement)
    if statement.verdict not in get_args(Verdict) or not is_signed(
        keys, statement.key, DECISION, content, signed.signature
    ):
        raise SignatureError(f"the {SIGNATURE_FILE} of the model {digest[:12]} was altered; {again} anew.")
    return signed


def load_public_keys(folder: Path | None = None) -> PublicKeys:
    """Return the trusted keys by their ids: those of `SENTIMENT_PUBLIC_KEYS`, a folder or PEM, where it is set.

    Else those of a Bento, in a Bento; else those of the signing folder, by default that of the state. The key of
    `SENTIMENT_SIGNING_KEY` is always among them. Raises ConfigError for what is no public key.
    """
    named = os.environ.get(PUBLIC_KEYS_VARIABLE, "").strip()
    if named.startswith("-----BEGIN"):
        texts = [named]
    else:
        place = Path(named).expanduser() if named else find_public_folder(folder)
        texts = [path.read_text(encoding="ascii", errors="replace") for path in sorted(place.glob("*.pem"))]
        if named and not texts:
            raise ConfigError(
                f"{PUBLIC_KEYS_VARIABLE} names {named!r}, which has no public key; wanted a folder with *.pem files,"
                " or their content."
            )
    blocks = [PEM + block for text in texts for block in text.split(PEM)[1:]]
    keys = dict(_read_public(block) for block in blocks)
    if os.environ.get(SIGNING_KEY_VARIABLE, "").strip():
        own = load_signing_key(folder)
        keys[own.id] = own.private.public_key()
    return keys


def find_public_folder(folder: Path | None = None) -> Path:
    """Return where the trusted keys lie: in a Bento beside its code, else in a signing folder."""
    bento = CHECKOUT.parent
    if folder is None and (bento / "bento.yaml").is_file():
        return bento / PUBLIC_FOLDER
    return (folder or locate_state().signing) / PUBLIC_FOLDER


def write_public_keys(folder: Path) -> None:
    """Put the trusted keys, and no other, into a folder that a Bento carries."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.pem"):
        old.unlink()
    for name, key in load_public_keys().items():
        (folder / f"{name}.pem").write_bytes(_dump_public(key))


def load_signing_key(folder: Path | None = None) -> SigningKey:
    """Return the key that signs: that of `SENTIMENT_SIGNING_KEY`, PEM, else that of the signing folder, made there.

    Raises ConfigError for what is no ed25519 key.
    """
    if named := os.environ.get(SIGNING_KEY_VARIABLE, "").strip():
        return _read_private(named.encode(), SIGNING_KEY_VARIABLE)
    place = (folder or locate_state().signing) / KEY_FILE
    if os.environ.get(PUBLIC_KEYS_VARIABLE, "").strip():
        raise ConfigError(
            f"{PUBLIC_KEYS_VARIABLE} is set, so that this machine signs with the key of {SIGNING_KEY_VARIABLE} alone,"
            " which is not set; set it, or do this where the key is."
        )
    if not place.exists():
        return make_signing_key(place.parent)
    key = _read_private(place.read_bytes(), str(place))
    if not (place.parent / PUBLIC_FOLDER / f"{key.id}.pem").is_file():
        raise ConfigError(f"the key in {place}, {key.id}, is not trusted any more; make rotate-signing-key")
    return key


def rotate_signing_key() -> SigningKey:
    """Make a new key for this installation. Raises ConfigError where its key comes from a variable."""
    for variable in (SIGNING_KEY_VARIABLE, PUBLIC_KEYS_VARIABLE):
        if os.environ.get(variable, "").strip():
            raise ConfigError(f"the keys of this installation are in {variable}; put the new one there.")
    return make_signing_key(locate_state().signing)


def make_signing_key(folder: Path) -> SigningKey:
    """Make a new key that signs from now on; what older ones signed stays trusted."""
    make_private_folder(folder)
    folder.chmod(0o700)
    (folder / PUBLIC_FOLDER).mkdir(exist_ok=True)
    private = Ed25519PrivateKey.generate()
    key = SigningKey(name_key(private.public_key()), private)
    (folder / PUBLIC_FOLDER / f"{key.id}.pem").write_bytes(_dump_public(private.public_key()))
    content = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_atomically(folder / KEY_FILE, content, mode=0o600)
    return key


def name_key(key: Ed25519PublicKey) -> str:
    """Return the id of a key: the beginning of its SHA-256."""
    return sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:ID_LENGTH]


def _dump_public(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _read_public(block: str) -> tuple[str, Ed25519PublicKey]:
    try:
        key = load_pem_public_key(block.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError("one of the trusted public keys is no ed25519 key in PEM; mend or remove it.")
    return name_key(key), key


def _read_private(content: bytes, source: str) -> SigningKey:
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(
            f"{source} is no ed25519 private key in PEM; wanted what `openssl genpkey -algorithm ed25519` makes."
        )
    return SigningKey(name_key(key.public_key()), key)

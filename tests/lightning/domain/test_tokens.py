"""Tokens, mostly from the side of somebody who should not have one."""

import base64
import json
import sys
import time
from typing import Any

import jwt
import pytest

from lightning.domain.tokens import TokenIssuer
from lightning.errors import Unauthorized

KEY, OTHER, OLD = "k" * 32, "o" * 32, "p" * 32
KINDS = ["user", "service", "run", "stream"]


def part(data: Any) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


GARBAGE = [
    *("", ".", "..", "...", "a.b.c", "\xe9.\xe9.\xe9", "\udcff", "\0", "Bearer x", "a" * 100_000, "[" * 3000),
    *(f"{part(header)}.e30.e30" for header in ([], b"null", b"[" * 2500, {"kid": ["x"], "alg": "HS256"})),
]


@pytest.fixture
def issuer() -> TokenIssuer:
    return TokenIssuer(KEY)


@pytest.fixture
def forge(issuer: TokenIssuer):
    """Sign what the issuer would, with some of it changed; None leaves a claim or header out."""

    def sign(*, key: str = KEY, algorithm: str = "HS256", header: dict | None = None, **claims: Any) -> str:
        issued = issuer.issue("user", "u1")
        payload = {**jwt.decode(issued, options={"verify_signature": False}), **claims}
        headers = {**jwt.get_unverified_header(issued), "alg": algorithm, **(header or {})}
        signed = f"{part(without_none(headers))}.{part(without_none(payload))}"
        signature = jwt.get_algorithm_by_name(algorithm).sign(signed.encode(), key.encode())
        return f"{signed}.{part(signature)}"

    return sign


def without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def refused(issuer: TokenIssuer, token: str, kind: Any = "user") -> Unauthorized:
    with pytest.raises(Unauthorized) as caught:
        issuer.verify(token, kind)
    return caught.value


class TestValid:
    @pytest.mark.parametrize("kind", KINDS)
    def test_it_says_what_it_was_issued_with(self, issuer, kind):
        before = int(time.time())
        token = issuer.issue(
            kind, "u1", role="operator", lifetime_seconds=60, claims={"run": "r1", "scopes": ["a"]}
        )

        for _ in range(2):  # the second time from memory
            claims = issuer.verify(token, kind)
            assert (claims.subject, claims.role, claims.kind) == ("u1", "operator", kind)
            assert claims.extra == {"run": "r1", "scopes": ["a"]}
            assert before + 60 <= claims.expires_at <= time.time() + 60

    def test_the_unchanged_forgery_is_good(self, issuer, forge):
        """Else the refusals below would prove nothing."""
        assert issuer.verify(forge(), "user").subject == "u1"

    def test_each_has_its_own_id(self, issuer):
        first, second = (issuer.verify(issuer.issue("user", "u1"), "user") for _ in range(2))
        assert first.token_id != second.token_id
        assert first.role == "user"
        assert issuer.lifetime_seconds == 3600

    def test_a_clock_that_is_behind_accepts_fresh_tokens(self, forge, issuer):
        assert issuer.verify(forge(iat=int(time.time()) + 30), "user")

    def test_what_it_remembers_cannot_be_changed(self, issuer):
        claims = issuer.verify(issuer.issue("user", "u1", claims={"a": 1}), "user")
        with pytest.raises(TypeError):
            claims.extra["a"] = 2


class TestForged:
    @pytest.mark.parametrize("claim", ["exp", "iss", "aud", "sub", "jti", "role"])
    def test_a_claim_is_missing(self, issuer, forge, claim):
        refused(issuer, forge(**{claim: None}))

    @pytest.mark.parametrize(
        "claims",
        [
            {"exp": 1},
            {"exp": "tomorrow"},
            {"exp": 1e400},
            {"exp": [2**40]},
            {"nbf": 2**40},
            {"iss": "elsewhere"},
            {"iss": ["lightning"]},
            {"aud": "lightning"},
            {"aud": "lightning:run"},
            {"aud": ["lightning:user", "lightning:run"]},
            {"aud": ["lightning:user"]},
            {"sub": 7},
            {"sub": ["u1"]},
            {"jti": 7},
            {"role": ["operator"]},
            {"role": 1},
        ],
        ids=str,
    )
    def test_a_claim_is_wrong(self, issuer, forge, claims):
        refused(issuer, forge(**claims))

    @pytest.mark.parametrize(
        "header",
        [
            {"typ": "JWT"},
            {"typ": None},
            {"typ": "run+jwt"},
            {"typ": ["user+jwt"]},
            {"kid": None},
            {"kid": "../../dev/null"},
            {"kid": ""},
            {"crit": ["exp"]},
            {"b64": False, "crit": ["b64"]},
        ],
        ids=str,
    )
    def test_a_header_is_wrong(self, issuer, forge, header):
        refused(issuer, forge(header=header))

    @pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
    def test_other_hashes(self, issuer, forge, algorithm):
        refused(issuer, forge(algorithm=algorithm))

    @pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "hs256", "RS256"])
    def test_other_algorithms(self, issuer, forge, algorithm):
        head, body, signature = forge().split(".")
        fields = {**json.loads(base64.urlsafe_b64decode(head + "==")), "alg": algorithm}
        for end in (signature, ""):
            refused(issuer, f"{part(fields)}.{body}.{end}")

    def test_another_key(self, issuer, forge):
        refused(issuer, forge(key=OTHER))
        refused(issuer, TokenIssuer(OTHER).issue("user", "u1"))

    def test_another_installation_with_the_same_key(self, issuer):
        refused(issuer, TokenIssuer(KEY, issuer="lightning-test").issue("user", "u1"))

    def test_every_changed_character(self, issuer):
        token = issuer.issue("user", "u1")
        issuer.verify(token, "user")
        for index in range(len(token) - 1):  # two bits of the last character carry nothing
            refused(issuer, token[:index] + ("A" if token[index] != "A" else "B") + token[index + 1 :])

    def test_a_payload_with_another_tokens_signature(self, issuer):
        head, _, signature = issuer.issue("user", "u1").split(".")
        _, body, _ = issuer.issue("user", "u2", role="operator").split(".")
        refused(issuer, f"{head}.{body}.{signature}")

    @pytest.mark.parametrize(
        "token",
        GARBAGE,
        ids=lambda token: ascii(token[:12]),
    )
    def test_garbage(self, issuer, token):
        refused(issuer, token)

    def test_the_answer_tells_nothing(self, issuer, forge):
        answers = [
            refused(issuer, token)
            for token in (
                "x",
                forge(exp=1),
                forge(key=OTHER),
                forge(aud="x"),
                forge(header={"kid": "x"}),
                forge(role=1),
            )
        ]
        assert {(a.message, a.code, a.status) for a in answers} == {
            ("the token is not accepted; ask for a new one", "invalid_token", 401)
        }
        assert all(a.__cause__ is None for a in answers)


class TestKinds:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("asked", KINDS)
    def test_one_is_never_taken_for_another(self, issuer, kind, asked):
        token = issuer.issue(kind, "u1")
        issuer.verify(token, kind)  # and is remembered
        if kind != asked:
            refused(issuer, token, asked)


class TestRotation:
    def test_old_tokens_live_on_and_new_ones_use_the_new_key(self):
        old, rotated, done = TokenIssuer(OLD), TokenIssuer(KEY, OLD), TokenIssuer(KEY)
        token = old.issue("user", "u1")

        assert rotated.verify(token, "user").subject == "u1"
        refused(old, rotated.issue("user", "u1"))
        assert done.verify(rotated.issue("user", "u1"), "user")
        refused(done, token)

    def test_the_key_is_the_one_that_is_named(self):
        rotated = TokenIssuer(KEY, OLD)
        header = jwt.get_unverified_header(TokenIssuer(OLD).issue("user", "u1"))
        payload = jwt.decode(rotated.issue("user", "u1"), options={"verify_signature": False})
        refused(rotated, jwt.encode(payload, KEY, "HS256", {"kid": header["kid"], "typ": "user+jwt"}))

    def test_the_name_of_a_key_does_not_hold_it(self):
        header = jwt.get_unverified_header(TokenIssuer(KEY).issue("user", "u1"))
        assert len(header["kid"]) == 16
        assert KEY[:4] not in header["kid"]

    @pytest.mark.parametrize("keys", [("k" * 31,), (KEY, "k" * 31), ("",)])
    def test_short_keys(self, keys):
        with pytest.raises(ValueError, match="at least 32 bytes"):
            TokenIssuer(*keys)


class TestMemory:
    def test_it_ends_with_the_token(self):
        clock = [time.time()]
        issuer = TokenIssuer(KEY, now=lambda: clock[0])
        token = issuer.issue("user", "u1", lifetime_seconds=100)
        expires_at = issuer.verify(token, "user").expires_at

        clock[0] = expires_at - 0.001
        assert issuer.verify(token, "user")
        clock[0] = expires_at
        refused(issuer, token)

    def test_it_is_bounded(self, issuer, monkeypatch):
        monkeypatch.setattr("lightning.domain.tokens._MAX_CACHED", 3)
        tokens = [issuer.issue("user", f"u{i}") for i in range(5)]
        for token in tokens:
            issuer.verify(token, "user")
        assert len(issuer._verified) == 3
        assert [issuer.verify(token, "user").subject for token in tokens] == [f"u{i}" for i in range(5)]

    def test_refused_tokens_take_no_room(self, issuer, forge):
        for token in ("x", forge(key=OTHER)):
            refused(issuer, token)
        assert not issuer._verified

    def test_the_token_itself_is_not_kept(self, issuer):
        token = issuer.issue("user", "u1")
        issuer.verify(token, "user")
        assert token not in repr(issuer._verified)
        assert sys.getsizeof(next(iter(issuer._verified))) < 100


def test_own_claims_cannot_be_overridden(issuer):
    with pytest.raises(ValueError, match="aud, sub"):
        issuer.issue("run", "r1", claims={"sub": "u2", "aud": "lightning:user", "run": "r1"})

"""`/api/register`, `/api/token`, `/api/me`, and what a token is worth."""

import base64
import hmac
import json
import time

import jwt
import pytest

from api.app import ROUTES
from lightning.domain.passwords import BCRYPT_ROUNDS
from lightning.domain.tokens import TokenIssuer
from tests.api.conftest import PASSWORD, assert_problem, concrete, serving


@pytest.fixture(scope="module")
def alice(ingress):
    """The account that the tests of this module share."""
    answer = ingress.http.post("/api/register", json={"username": "Alice", "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    return answer.json()


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def assert_unauthorized(answer, code):
    problem = assert_problem(answer, 401, code)
    assert answer.headers["www-authenticate"] == "Bearer"
    return problem


class TestRegister:
    def test_an_account_is_made(self, alice):
        assert set(alice) == {"userID", "username", "role"}
        assert (alice["username"], alice["role"]) == ("alice", "user")
        assert alice["userID"]

    @pytest.mark.parametrize("name", ["Alice", "aLICE", "\uff21lice"], ids=["same", "case", "wide"])
    def test_a_name_is_taken_once(self, ingress, alice, name):
        answer = ingress.http.post("/api/register", json={"username": name, "password": "another password"})
        assert_problem(answer, 409, "username_taken", pointer="/username")

    @pytest.mark.parametrize(
        ("username", "password", "pointer"),
        [
            ("ab", PASSWORD, "/username"),
            ("", PASSWORD, "/username"),
            ("x" * 65, PASSWORD, "/username"),
            ("x" * 1025, PASSWORD, "/username"),
            ("with space", PASSWORD, "/username"),
            ("a/b/c", PASSWORD, "/username"),
            ("<script>", PASSWORD, "/username"),
            ("\u202etxt", PASSWORD, "/username"),
            (7, PASSWORD, "/username"),
            (None, PASSWORD, "/username"),
            (["bobby"], PASSWORD, "/username"),
            ("bobby", "short12", "/password"),
            ("bobby", "", "/password"),
            ("bobby", "x" * 73, "/password"),
            ("bobby", "é" * 36 + "x", "/password"),
            ("bobby", "x" * 1025, "/password"),
            ("bobby", 12345678, "/password"),
            ("bobby", None, "/password"),
        ],
        ids=str,
    )
    def test_bad_credentials(self, ingress, username, password, pointer):
        # When an account is asked for that cannot be
        answer = ingress.http.post("/api/register", json={"username": username, "password": password})

        # Then the answer says which field is at fault, and repeats no password
        problem = assert_problem(answer, 422, pointer=pointer)
        if isinstance(password, str) and password:
            assert password not in json.dumps(problem, ensure_ascii=False)

    def test_a_password_of_exactly_the_limit(self, ingress):
        # Given an account whose password has 72 bytes
        long = {"username": "long-password", "password": "é" * 36}
        assert ingress.http.post("/api/register", json=long).status_code == 201

        # Then one byte more is another password, though bcrypt reads no further
        assert ingress.http.post("/api/token", json=long).status_code == 200
        longer = {**long, "password": long["password"] + "x"}
        assert_unauthorized(ingress.http.post("/api/token", json=longer), "wrong_credentials")

    def test_closed_registration(self, tmp_path):
        with serving(tmp_path / "data", LIGHTNING_REGISTRATION="closed") as ingress:
            answer = ingress.http.post("/api/register", json={"username": "bobby", "password": PASSWORD})
            assert_problem(answer, 403, "registration_closed")


@pytest.mark.parametrize("path", ["/api/register", "/api/token"])
class TestBadForms:
    @pytest.mark.parametrize("field", ["username", "password"])
    def test_a_missing_field(self, ingress, path, field):
        body = {"username": "bobby", "password": PASSWORD}
        del body[field]
        assert_problem(ingress.http.post(path, json=body), 422, "invalid_field", pointer=f"/{field}")

    def test_an_extra_field(self, ingress, path):
        body = {"username": "bobby", "password": PASSWORD, "role": "operator"}
        assert_problem(ingress.http.post(path, json=body), 422, "invalid_field", pointer="/role")

    def test_an_extra_field_to_escape(self, ingress, path):
        body = {"username": "bobby", "password": PASSWORD, "a/b~c": 1}
        assert_problem(ingress.http.post(path, json=body), 422, "invalid_field", pointer="/a~1b~0c")

    @pytest.mark.parametrize("value", [[], "text", 1, None], ids=repr)
    def test_no_object(self, ingress, path, value):
        answer = ingress.http.post(path, content=json.dumps(value).encode())
        assert_problem(answer, 422, "invalid_field", pointer="")

    @pytest.mark.parametrize(
        ("body", "status", "code", "pointer"),
        [
            (b"", 400, "not_json", None),
            (b"username=bobby&password=x", 400, "not_json", None),
            (b'{"username": "a", "username": "b"}', 400, "duplicate_key", "/username"),
            (b'{"password": "12345678\\u0000"}', 400, "unstorable_text", "/password"),
            (b'{"password": "12345678\\udfff"}', 400, "unstorable_text", "/password"),
            (b"[" * 33 + b"]" * 33, 400, "too_deep", None),
            (b'"' + b"x" * 262_144 + b'"', 413, "too_large", None),
        ],
    )
    def test_no_json_of_ours(self, ingress, path, body, status, code, pointer):
        assert_problem(ingress.http.post(path, content=body), status, code, pointer=pointer)


class TestToken:
    def test_it_is_of_the_shape_of_oauth(self, ingress, alice):
        # When someone logs in
        answer = ingress.http.post("/api/token", json={"username": "ALICE", "password": PASSWORD})

        # Then the answer is that of RFC 6749, section 5.1, and is kept nowhere
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        token = answer.json()
        assert {"access_token", "token_type", "expires_in"} <= set(token)
        assert token["token_type"] == "Bearer"
        assert isinstance(token["expires_in"], int)
        assert token["expires_in"] > 0

        # And the token says who they are
        me = ingress.http.get("/api/me", headers=bearer(token["access_token"]))
        assert me.status_code == 200
        assert me.json() == {"userID": alice["userID"], "role": "user"}

        # And it works where events are posted
        event = {
            "timestamp": "2026-01-31T12:00:00Z",
            "source": "tests",
            "type": "user.message",
            "userID": alice["userID"],
            "metadata": {"content": "hello"},
        }
        posted = ingress.http.post("/api/events", json=event, headers=bearer(token["access_token"]))
        assert posted.status_code == 202

    def test_nobody_learns_which_names_exist(self, ingress, alice):
        # When the password is wrong, or the name is, or could be nobody's
        answers = [
            ingress.http.post("/api/token", json=credentials)
            for credentials in (
                {"username": "alice", "password": "wrong password"},
                {"username": "alice", "password": "short"},
                {"username": "alice", "password": "x" * 73},
                {"username": "nobody-here", "password": PASSWORD},
                {"username": "not a name", "password": PASSWORD},
                {"username": "", "password": ""},
            )
        ]

        # Then the answers are the same to the byte
        for answer in answers:
            assert_unauthorized(answer, "wrong_credentials")
        assert len({answer.content for answer in answers}) == 1

    def test_an_unknown_name_takes_as_long(self, tmp_path):
        def seconds(ingress, username):
            # of the processor, all threads of the ingress: what else runs on the machine does not count
            begin = time.process_time()
            ingress.http.post("/api/token", json={"username": username, "password": "wrong password"})
            return time.process_time() - begin

        with serving(tmp_path / "data", rounds=BCRYPT_ROUNDS) as slow:
            assert slow.http.post(
                "/api/register", json={"username": "alice", "password": PASSWORD}
            ).is_success
            # bcrypt dominates both by far: without it an answer takes a hundredth of this
            measured = [(seconds(slow, "alice"), seconds(slow, "nobody-here")) for _ in range(3)]
        known, unknown = map(min, zip(*measured, strict=True))
        assert 0.4 < unknown / known < 2.5


#: Every route that asks for a token.
PROTECTED = [(route.method, concrete(route.path)) for route in ROUTES if route.scope is not None]


@pytest.fixture(scope="module")
def victim(ingress):
    """Somebody whose tokens are forged."""
    person = ingress.person()
    person.sid = jwt.decode(person.token, options={"verify_signature": False})["sid"]
    ingress.victim = person
    return person


def good(ingress, kind="user", **options):
    """Sign a token of the victim's session."""
    return ingress.issuer.issue(kind, ingress.victim.id, claims={"sid": ingress.victim.sid}, **options)


def forged(ingress, algorithm="HS256", key=None, headers=None, **changes):
    """Make a token like a good one with something changed; None leaves a claim or header out."""
    whole = good(ingress)
    claims = {**jwt.decode(whole, options={"verify_signature": False}), **changes}
    head = {**jwt.get_unverified_header(whole), **(headers or {})}
    del head["alg"]
    key = ingress.settings.jwt_signing_key.get_secret_value() if key is None else key
    claims, head = ({k: v for k, v in each.items() if v is not None} for each in (claims, head))
    return jwt.encode(claims, key, algorithm, head)


def unsigned(ingress):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    whole = good(ingress)
    header = {**jwt.get_unverified_header(whole), "alg": "none"}
    return f"{part(header)}.{part(jwt.decode(whole, options={'verify_signature': False}))}."


def signed_with_a_public_key(ingress):
    """Name RS256 and sign with the name of the key, as if what anybody can read were the secret."""
    head, body, _ = good(ingress).split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=="))
    changed = base64.urlsafe_b64encode(json.dumps({**header, "alg": "RS256"}).encode()).rstrip(b"=").decode()
    signature = hmac.digest(header["kid"].encode(), f"{changed}.{body}".encode(), "sha256")
    return f"{changed}.{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


BAD_TOKENS = {
    "garbage": lambda ingress: "garbage",
    "dots": lambda ingress: "..",
    "letters beyond ASCII": lambda ingress: "Grüße".encode().decode("latin-1"),
    "very long": lambda ingress: "x" * 5000,
    "two": lambda ingress: " ".join([good(ingress)] * 2),
    "cut": lambda ingress: good(ingress)[:-4],
    "expired": lambda ingress: good(ingress, lifetime_seconds=-1),
    "of a run": lambda ingress: good(ingress, "run"),
    "of another installation": lambda ingress: TokenIssuer("k" * 32).issue(
        "user", ingress.victim.id, claims={"sid": ingress.victim.sid}
    ),
    "without a session": lambda ingress: ingress.issuer.issue("user", ingress.victim.id),
    "of no session": lambda ingress: forged(ingress, sid="no-such-session"),
    "of an account's own document": lambda ingress: forged(ingress, sid="../account"),
    "of nobody": lambda ingress: forged(ingress, sub="nobody"),
    "of somebody else's session": lambda ingress: forged(ingress, sub=ingress.person().id),
    "of a role that they do not have": lambda ingress: forged(ingress, role="operator"),
    "of a service token that is none": lambda ingress: ingress.issuer.issue(
        "service", ingress.victim.id, claims={"tid": "x", "scopes": ["events:read", "account"]}
    ),
    "of another issuer": lambda ingress: forged(ingress, iss="thunder"),
    "of another audience": lambda ingress: forged(ingress, aud="lightning:run"),
    "of two audiences": lambda ingress: forged(ingress, aud=["lightning:user", "lightning:run"]),
    "without end": lambda ingress: forged(ingress, exp=None),
    "without subject": lambda ingress: forged(ingress, sub=None),
    "without audience": lambda ingress: forged(ingress, aud=None),
    "without role": lambda ingress: forged(ingress, role=None),
    "without key id": lambda ingress: forged(ingress, headers={"kid": None}),
    "of another type": lambda ingress: forged(ingress, headers={"typ": "JWT"}),
    "of another key": lambda ingress: forged(ingress, key="k" * 64),
    "of another algorithm": lambda ingress: forged(ingress, "HS512"),
    "of another algorithm, 384": lambda ingress: forged(ingress, "HS384"),
    "unsigned": unsigned,
    "as if signed with a public key": signed_with_a_public_key,
}


class TestBadTokens:
    @pytest.mark.parametrize(
        "scheme", [None, "", "Bearer", "Basic Ym9iOmJvYg==", "Token x", "Bearer\tx"], ids=repr
    )
    @pytest.mark.parametrize(("method", "path"), PROTECTED)
    def test_no_token(self, ingress, method, path, scheme):
        headers = {} if scheme is None else {"authorization": scheme}
        assert_unauthorized(ingress.http.request(method, path, headers=headers), "token_missing")

    @pytest.mark.parametrize("make", BAD_TOKENS.values(), ids=BAD_TOKENS)
    @pytest.mark.usefixtures("victim")
    def test_a_bad_token(self, ingress, make):
        # When a token is shown that is not ours for users
        header = f"Bearer {make(ingress)}".encode("latin-1")
        answers = [
            ingress.http.request(method, path, headers={"authorization": header})
            for method, path in PROTECTED
        ]

        # Then every route refuses it, and why is not told
        for answer in answers:
            assert_unauthorized(answer, "invalid_token")
        assert len({answer.content for answer in answers}) == 1

    def test_a_good_token_that_is_made_by_hand(self, ingress, victim):
        # so that the cases above fail for their one change, and for nothing else
        answer = ingress.http.get("/api/me", headers=bearer(forged(ingress, more="claims")))
        assert answer.json() == {"userID": victim.id, "role": "user"}

    def test_the_scheme_in_other_letters(self, ingress, victim):
        answer = ingress.http.get("/api/me", headers={"authorization": f"bEARER {victim.token}"})
        assert answer.status_code == 200

    def test_a_token_in_the_address_is_none(self, ingress, victim):
        for name in ("token", "access_token"):
            assert_unauthorized(ingress.http.get("/api/me", params={name: victim.token}), "token_missing")

    @pytest.mark.usefixtures("victim")
    def test_a_token_ends_while_it_is_remembered(self, ingress):
        # Given a token of two seconds that was accepted
        token = good(ingress, lifetime_seconds=2)
        assert ingress.http.get("/api/me", headers=bearer(token)).status_code == 200

        # When its time is over
        ends = jwt.decode(token, options={"verify_signature": False})["exp"]
        time.sleep(max(0.0, ends - time.time()))

        # Then it is refused
        assert_unauthorized(ingress.http.get("/api/me", headers=bearer(token)), "invalid_token")

    def test_the_key_before_is_accepted_while_keys_are_rotated(self, tmp_path):
        old, new = "o" * 32, "n" * 32
        # Given somebody who logged in while the old key was the key
        with serving(tmp_path / "data", JWT_SIGNING_KEY=old) as ingress:
            person = ingress.person()
            assert person.get("/api/me").status_code == 200
            refresh = {"refresh_token": person.tokens()["refresh_token"]}
            asked = {"name": "a program", "scopes": ["events:read"]}
            program = bearer(person.request("POST", "/api/service-tokens", json=asked).json()["token"])

        # When the keys are rotated, then their token is good, and that of their program
        with serving(tmp_path / "data", JWT_SIGNING_KEY=new, JWT_SIGNING_KEY_PREVIOUS=old) as ingress:
            assert ingress.http.get("/api/me", headers=person.headers()).status_code == 200
            assert ingress.http.get("/api/events", headers=program).status_code == 200
            later = ingress.person()
            assert (
                jwt.get_unverified_header(later.token)["kid"]
                != jwt.get_unverified_header(person.token)["kid"]
            )

        # And when the old key is gone, so is the token, and nobody else's
        with serving(tmp_path / "data", JWT_SIGNING_KEY=new) as ingress:
            assert_unauthorized(ingress.http.get("/api/me", headers=person.headers()), "invalid_token")
            assert ingress.http.get("/api/me", headers=later.headers()).status_code == 200
            assert_unauthorized(ingress.http.get("/api/events", headers=program), "invalid_token")
            # but the session goes on, under the new key
            token = ingress.http.post("/api/token/refresh", json=refresh).json()["access_token"]
            assert ingress.http.get("/api/me", headers=bearer(token)).status_code == 200

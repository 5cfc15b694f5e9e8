"""Limits on guessing over HTTP: across processes, and whoever's address a request claims to come from."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from api.address import client_address
from tests.api.conftest import assert_problem, process, serving

LIMITS = {
    "LIGHTNING_LOGIN_FAILURES": "3",
    "LIGHTNING_LOGIN_ACCOUNT_FAILURES": "6",
    "LIGHTNING_LOGIN_ADDRESS_FAILURES": "12",
}


def guess(person, ingress=None, **headers):
    return person.log_in(ingress, password="a wrong password", **headers)


def assert_limited(answer):
    assert_problem(answer, 429, "too_many_attempts")
    assert 0 < int(answer.headers["retry-after"]) <= 300
    return answer


class TestProcesses:
    def test_guesses_at_two_processes_are_one_count(self, tmp_path):
        with serving(tmp_path / "data", **LIMITS) as first, serving(tmp_path / "data", **LIMITS) as second:
            person = first.person()
            # When somebody guesses at both processes at once
            with ThreadPoolExecutor(8) as guessers:
                answers = list(guessers.map(lambda n: guess(person, (first, second)[n % 2]), range(16)))

            # Then three passwords were looked at, and no more
            assert sorted(answer.status_code for answer in answers) == [401] * 3 + [429] * 13

            # And not even the right one is looked at now, at either
            for ingress in (first, second):
                assert_limited(person.log_in(ingress))

            # While others log in, and sessions go on
            assert first.person().log_in(second).status_code == 200
            assert person.get("/api/me").status_code == 200

    def test_it_outlives_the_process(self, tmp_path):
        with serving(tmp_path / "data", **LIMITS) as ingress:
            person = ingress.person()
            for _ in range(3):
                assert guess(person).status_code == 401
        with serving(tmp_path / "data", **LIMITS) as ingress:
            assert_limited(guess(person, ingress))


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("limited") / "data", **LIMITS) as ingress:
        yield ingress


class TestNames:
    def test_nobody_is_limited_like_somebody(self, tmp_path):
        with serving(tmp_path / "data", **LIMITS) as ingress:
            for name in ("nobody-at-all", "no name"):
                form = {"username": name, "password": "a wrong password"}
                answers = [ingress.http.post("/api/token", json=form) for _ in range(4)]
                assert [answer.status_code for answer in answers] == [401, 401, 401, 429]

    def test_one_name_in_many_letters_is_one_name(self, limited):
        person = limited.person()
        for name in (person.username, person.username.upper(), person.username.title()):
            form = {"username": name, "password": "a wrong password"}
            assert limited.http.post("/api/token", json=form).status_code == 401
        assert_limited(guess(person))


class TestForwarded:
    """`X-Forwarded-For` is what anybody may write."""

    def test_it_is_not_believed(self, tmp_path):
        with serving(tmp_path / "data", **LIMITS) as ingress:
            # When a guesser on this very machine invents an address for each guess
            person = ingress.person()
            answers = [guess(person, x_forwarded_for=f"203.0.113.{n}") for n in range(4)]

            # Then they are counted as one
            assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
            assert ingress.person().tokens()

    def test_nor_by_the_ingress_as_it_is_run(self, tmp_path):
        # since uvicorn, left alone, believes whoever connects from this machine
        form = {"username": "nobody", "password": "a wrong password"}
        with process(tmp_path / "data", tmp_path / "printed", **LIMITS) as http:
            answers = [
                http.post("/api/token", json=form, headers={"x-forwarded-for": f"203.0.113.{n}"})
                for n in range(4)
            ]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429]

    def test_that_of_a_trusted_proxy_is(self, tmp_path):
        trusting = {**LIMITS, "LIGHTNING_TRUSTED_PROXIES": "127.0.0.0/8,10.0.0.0/8"}
        with serving(tmp_path / "data", **trusting) as ingress:
            person = ingress.person()
            # When one client guesses behind the proxy, and writes an address of its own before it
            forged = [f"198.51.100.{n}, 203.0.113.1" for n in range(4)]
            answers = [guess(person, x_forwarded_for=value) for value in forged]

            # Then what the proxy wrote counts
            assert [answer.status_code for answer in answers] == [401, 401, 401, 429]

            # And another client behind it is another one
            answer = person.log_in(x_forwarded_for="203.0.113.2, 10.1.2.3")
            assert answer.status_code == 200
            [newest, _] = person.get("/api/sessions").json()["sessions"]
            assert newest["address"] == "203.0.113.2"


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "client"),
    [
        ("192.0.2.1", "", "", "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9", "", "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9", "10.0.0.0/8", "192.0.2.1"),
        ("10.0.0.1", "203.0.113.9", "10.0.0.0/8", "203.0.113.9"),
        ("10.0.0.1", "", "10.0.0.0/8", "10.0.0.1"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.9, 10.0.0.2", "10.0.0.0/8", "203.0.113.9"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.0/8", "10.0.0.3"),
        ("10.0.0.1", "203.0.113.9, nonsense", "10.0.0.0/8", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9:52100", "10.0.0.1", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8:1:2:3::4]:443", "10.0.0.1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3::4", "", "", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "", "", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "", "", "192.0.2.1"),
        ("::ffff:10.0.0.1", "203.0.113.9", "10.0.0.0/8", "203.0.113.9"),
        ("fd00::1", "203.0.113.9", "10.0.0.0/8, fd00::/8", "203.0.113.9"),
        ("", "203.0.113.9", "10.0.0.0/8", ""),
        ("10.0.0.1", "203.0.113.9," + "10.0.0.2," * 5000 + "10.0.0.3", "10.0.0.0/8", "10.0.0.2"),
    ],
)
def test_the_client_among_proxies(peer, forwarded, trusted, client):
    assert client_address(peer, forwarded, trusted) == client

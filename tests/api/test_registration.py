"""Who may register over HTTP: everybody, the invited, or nobody."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from lightning.domain.invitations import Invitations
from tests.api.conftest import PASSWORD, assert_problem, serving


@pytest.fixture(scope="module")
def inviting(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("inviting") / "data", LIGHTNING_REGISTRATION="invite") as ingress:
        yield ingress


@pytest.fixture
def invitation(inviting):
    with inviting.accounts() as beside:
        invitations = Invitations(beside.storage, beside.accounts)
        return beside.run(invitations.invite(3600)).token


def register(ingress, username, **more):
    return ingress.http.post("/api/register", json={"username": username, "password": PASSWORD, **more})


class TestInvite:
    def test_the_invited_get_in_once(self, inviting, invitation):
        # When somebody registers with their invitation
        answer = register(inviting, "invited", invitation=invitation)
        assert answer.status_code == 201
        assert answer.json()["username"] == "invited"

        # Then they can log in, and nobody else can register with it
        form = {"username": "invited", "password": PASSWORD}
        assert inviting.http.post("/api/token", json=form).status_code == 200
        again = register(inviting, "another", invitation=invitation)
        assert_problem(again, 403, "invitation_refused", pointer="/invitation")
        assert invitation not in again.text

    def test_of_two_at_once_one_gets_in(self, inviting, invitation):
        with (
            serving(inviting.data, LIGHTNING_REGISTRATION="invite") as beside,
            ThreadPoolExecutor(4) as crowd,
        ):
            answers = list(
                crowd.map(
                    lambda n: register((inviting, beside)[n % 2], f"of-four-{n}", invitation=invitation),
                    range(4),
                )
            )
        assert sorted(answer.status_code for answer in answers) == [201, 403, 403, 403]

    def test_nobody_else_gets_in(self, inviting):
        assert_problem(register(inviting, "uninvited"), 403, "invitation_required", pointer="/invitation")
        for wrong in ("", "lin_a.b", "x" * 1024):
            answer = register(inviting, "uninvited", invitation=wrong)
            assert_problem(answer, 403, "invitation_refused", pointer="/invitation")
        for none in (7, "x" * 1025):
            answer = register(inviting, "uninvited", invitation=none)
            assert_problem(answer, 422, "invalid_field", pointer="/invitation")

    def test_an_account_that_is_not_yet_one_cannot_log_in(self, inviting, invitation):
        # Given a registration that stopped before its end
        with inviting.accounts() as beside:
            draft = beside.run(beside.accounts.draft("halfway", PASSWORD))
            beside.run(beside.accounts.place(draft | {"kind": "pendingAccount", "invitation": "x"}))

        # Then nobody can log in to it, and the name can still be had
        form = {"username": "halfway", "password": PASSWORD}
        assert_problem(inviting.http.post("/api/token", json=form), 401, "wrong_credentials")
        assert register(inviting, "halfway", invitation=invitation).status_code == 201


def test_an_invitation_does_no_harm_where_nobody_asks_for_one(ingress):
    assert register(ingress, "not-asked", invitation="lin_whatever.x").status_code == 201


def test_an_invitation_opens_nothing_where_registration_is_closed(tmp_path):
    with serving(tmp_path / "data", LIGHTNING_REGISTRATION="closed") as ingress:
        with ingress.accounts() as beside:
            token = beside.run(Invitations(beside.storage, beside.accounts).invite(3600)).token
        assert_problem(register(ingress, "invited", invitation=token), 403, "registration_closed")


class TestLimit:
    def test_one_address_makes_so_many_accounts_at_all_processes(self, tmp_path):
        limit = {"LIGHTNING_REGISTRATIONS": "3", "LIGHTNING_TRUSTED_PROXIES": "127.0.0.1"}
        with serving(tmp_path / "data", **limit) as first, serving(tmp_path / "data", **limit) as second:
            # Given what was refused for its form, which does not count
            for name in ("x", "a name"):
                assert register(first, name).status_code == 422
            # When somebody makes accounts at both
            with ThreadPoolExecutor(2) as crowd:
                answers = list(crowd.map(lambda n: register((first, second)[n % 2], f"many-{n}"), range(5)))
            # Then as many as one may are made
            assert sorted(answer.status_code for answer in answers) == [201] * 3 + [429] * 2
            refused = register(first, "one-more")
            assert_problem(refused, 429, "too_many_registrations")
            assert 0 < int(refused.headers["retry-after"]) <= 3600
            # While they log in, and others register
            form = {"username": next(a.json()["username"] for a in answers if a.status_code == 201)}
            assert first.http.post("/api/token", json={**form, "password": PASSWORD}).status_code == 200
            answer = first.http.post(
                "/api/register",
                json={"username": "elsewhere", "password": PASSWORD},
                headers={"x-forwarded-for": "203.0.113.9"},
            )
            assert answer.status_code == 201

    def test_asking_for_names_counts(self, tmp_path):
        with serving(tmp_path / "data", LIGHTNING_REGISTRATIONS="2") as ingress:
            assert register(ingress, "taken").status_code == 201
            assert_problem(register(ingress, "taken"), 409, "username_taken", pointer="/username")
            assert_problem(register(ingress, "taken"), 429, "too_many_registrations")

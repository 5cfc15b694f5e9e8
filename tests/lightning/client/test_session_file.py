"""Sessions that several programs share: one renews for all, and none sees half of what is kept."""

import threading

import pytest

from lightning.client import ClientError, SessionFile
from tests.fake_platform import Fault

CREDENTIALS = ("ada", "right")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sessions" / "ada.json"


def at_once(clients, action) -> list[ClientError]:
    failures = []

    def act(client):
        try:
            action(client)
        except ClientError as error:
            failures.append(error)

    threads = [threading.Thread(target=act, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return failures


def sharing(connect, platform, path, count: int, **options):
    return [connect(platform.url, session=SessionFile(path), **options) for _ in range(count)]


def test_the_first_to_come_logs_in_for_all(connect, platform, path):
    platform.delays["/api/token"] = 0.2
    clients = sharing(connect, platform, path, 4, credentials=CREDENTIALS)
    assert at_once(clients, lambda client: client.resume()) == []
    assert platform.count("POST", "/api/token") == 1
    assert len({client.headers()["authorization"] for client in clients}) == 1


def test_one_renews_for_all(connect, platform, path):
    # Given clients with one session, whose access token is refused, and a slow platform
    clients = sharing(connect, platform, path, 4, credentials=CREDENTIALS)
    for client in clients:
        client.resume()
    platform.access.clear()
    platform.delays["/api/token/refresh"] = 0.2
    # When all find that out
    assert at_once(clients, lambda client: client.events(after=0, limit=1)) == []
    # Then one has used the refresh token, and all have what came of it
    assert platform.count("POST", "/api/token/refresh") == 1
    assert platform.count("POST", "/api/token") == 1
    assert SessionFile(path).read().refresh_token == platform.refresh


def test_a_renewal_without_an_answer_leaves_what_is_kept(connect, platform, path):
    [client] = sharing(connect, platform, path, 1)
    client.log_in(*CREDENTIALS)
    before = SessionFile(path).read()
    platform.access.clear()
    platform.faults.append(Fault("POST", "/api/token/refresh"))
    with pytest.raises(ClientError):
        client.events(after=0, limit=1)
    assert SessionFile(path).read() == before


def test_a_session_that_is_over_is_forgotten(connect, platform, path):
    [client] = sharing(connect, platform, path, 1)
    client.log_in(*CREDENTIALS)
    platform.access.clear()
    platform.refresh = "another"
    with pytest.raises(ClientError) as raised:
        client.events(after=0, limit=1)
    assert raised.value.status == 401
    assert SessionFile(path).read() is None
    with pytest.raises(ClientError, match="log in again"):
        client.resume()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"url": 1, "more": 2}'])
def test_what_cannot_be_read_is_no_session(connect, platform, path, text):
    path.parent.mkdir()
    path.write_text(text)
    [client] = sharing(connect, platform, path, 1, credentials=CREDENTIALS)
    client.resume()
    assert SessionFile(path).read().access_token in platform.access

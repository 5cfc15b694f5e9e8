"""What a run says of itself, what it asks, and what it is told."""

import threading
import time

import pytest

from ops.chaos.installation import until
from tests.api.conftest import PATIENCE_SECONDS, assert_problem
from tests.api.runs import GoingRun


@pytest.fixture
def run(ingress):
    return GoingRun(ingress.person(), {"text": "hello"})


def shown(run):
    answer = run.person.get(f"/api/runs/{run.id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def say(run, content, **more):
    return run.person.request("POST", f"/api/runs/{run.id}/messages", json={"content": content, **more})


class TestProgress:
    def test_the_latest_stands_with_the_run(self, run):
        for number in range(25):
            answer = run.post("/run/progress", {"message": f"step {number}", "percent": number})
            assert answer.status_code == 200, answer.text
        told = shown(run)["progress"]
        assert [each["message"] for each in told] == [f"step {number}" for number in range(5, 25)]
        assert told[-1] == answer.json()

    def test_open_streams_get_it(self, run):
        # Given the user at a stream and at a WebSocket, and somebody else at a stream
        other = run.ingress.person()
        with run.person.stream() as frames, run.person.websocket(after=0) as socket, other.stream() as theirs:
            # When the run says how far it has come
            assert run.post("/run/progress", {"message": "half", "percent": 50}).status_code == 200
            # Then they get it
            frame = next(each for each in frames if each.event == "progress")
            assert frame.data["run"] == run.id
            assert frame.data["task"] == run.task["id"]
            assert (frame.data["message"], frame.data["percent"]) == ("half", 50)
            while '"progress"' not in (said := socket.recv(PATIENCE_SECONDS)):
                pass
            assert f'"run":"{run.id}"' in said
            # And nobody else does
            other.says("the last that is theirs")
            assert next(theirs).event == "llm.chat"


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/run/progress", {"message": ""}, "/message"),
        ("/run/progress", {"message": "x" * 501}, "/message"),
        ("/run/progress", {"message": "x", "percent": 101}, "/percent"),
        ("/run/progress", {"message": "x", "more": 1}, "/more"),
        ("/run/metrics", {"name": "a b", "value": 1}, "/name"),
        ("/run/metrics", {"name": "a", "value": "1"}, "/value"),
        ("/run/result", {"output": "x" * 65536}, "/output"),
        ("/run/result", {}, "/output"),
        ("/run/questions", {"question": "x", "options": [""] * 2}, "/options/0"),
        ("/run/questions", {"question": "x", "options": ["a"] * 11}, "/options"),
    ],
)
def test_what_is_wrong_is_pointed_at(wrong, path, body, pointer):
    assert_problem(wrong.post(path, body), 422, "invalid_field", pointer=pointer)


@pytest.fixture(scope="module")
def wrong(ingress):
    return GoingRun(ingress.person())


class TestMetrics:
    def test_the_latest_of_each_name_stands_with_the_run(self, run):
        run.post("/run/metrics", {"name": "files", "value": 1})
        run.post("/run/metrics", {"name": "files", "value": 2.5, "unit": "1"})
        run.post("/run/metrics", {"name": "bytes", "value": 7})
        found = [(each["name"], each["value"], each["unit"]) for each in shown(run)["metrics"]]
        assert found == [("files", 2.5, "1"), ("bytes", 7, None)]

    def test_there_is_an_end_to_names(self, run):
        for number in range(100):
            assert run.post("/run/metrics", {"name": f"m{number}", "value": 1}).status_code == 200
        assert_problem(
            run.post("/run/metrics", {"name": "other", "value": 1}), 409, "too_many_metrics", pointer="/name"
        )
        assert run.post("/run/metrics", {"name": "m5", "value": 2}).status_code == 200


class TestResult:
    def test_the_latest_word_counts(self, run):
        run.post("/run/result", {"output": 1})
        last = run.post("/run/result", {"output": {"files": [None, 12]}, "message": "12 files"})
        assert last.status_code == 200
        assert shown(run)["result"] == last.json()
        # a repetition is the same
        again = run.post("/run/result", {"output": {"files": [None, 12]}, "message": "12 files"})
        assert again.json() == last.json()

    def test_the_task_is_looked_at_at_once(self, run):
        # Given a task whose next look is far off
        run.postpone(600)
        put_off = run.event()
        # When its run has a result
        run.post("/run/result", {"output": 1})
        # Then it is due, and the message that was sent for later is void
        due = run.event()
        assert due["dueAt"] <= time.time()
        assert due["wake"] == put_off["wake"] + 1
        # And no further word of the run hurries anybody
        run.postpone(600)
        put_off = run.event()
        run.post("/run/result", {"output": 2})
        assert run.event() == put_off


class TestQuestions:
    def test_the_user_is_told_and_answers(self, run):
        # When a run asks, twice under one key
        asked = {"question": "Which branch?", "options": ["main", "next"], "key": "branch"}
        answers = [run.post("/run/questions", asked) for _ in range(2)]
        assert [each.status_code for each in answers] == [201, 201]
        question = answers[0].json()
        assert answers[1].json() == question
        # Then the user is told once, in the tree of the task
        [told] = [each for each in run.person.log() if each["type"] == "user.message"]
        assert told["metadata"] == {
            "content": "Which branch?\n- main\n- next",
            "runID": run.id,
            "questionID": question["id"],
        }
        assert (told["root"], told["cause"]) == (run.task["id"], run.task["id"])
        assert shown(run)["questions"] == [question]
        # And when they answer, twice under one key, the run finds it once
        given = [say(run, "next", questionID=question["id"], key="mine") for _ in range(2)]
        assert [each.status_code for each in given] == [201, 201]
        found = run.get("/run/messages").json()
        assert found == {"messages": [given[0].json()], "next": 1}
        assert run.get("/run/messages", after=1).json() == {"messages": [], "next": 1}
        assert shown(run)["messages"] == found["messages"]

    def test_another_under_the_same_key_is_refused(self, run):
        run.post("/run/questions", {"question": "a", "key": "k"})
        assert_problem(run.post("/run/questions", {"question": "b", "key": "k"}), 409, "id_taken")
        say(run, "a", key="k")
        assert_problem(say(run, "b", key="k"), 409, "id_taken")

    def test_there_is_an_end_to_questions_and_messages(self, run):
        for number in range(20):
            assert run.post("/run/questions", {"question": str(number)}).status_code == 201
        one_more = run.post("/run/questions", {"question": "20"})
        assert_problem(one_more, 409, "too_many_questions", pointer="/question")
        for number in range(40):
            assert say(run, str(number)).status_code == 201
        assert_problem(say(run, "40"), 409, "too_many_messages", pointer="/content")

    def test_a_run_that_is_over_is_told_nothing(self, run):
        run.end()
        assert_problem(say(run, "x"), 409, "run_over")


class Waiting:
    """Somebody who waits for a message."""

    def __init__(self, run, seconds):
        self._thread = threading.Thread(target=self._wait, args=(run, seconds))
        self._thread.start()
        hub = run.ingress.platform.hub
        until(lambda: len(hub) > 0, "somebody waits", seconds=PATIENCE_SECONDS)

    def _wait(self, run, seconds):
        self.answer = run.get("/run/messages", wait=seconds)

    def result(self):
        self._thread.join(PATIENCE_SECONDS)
        return self.answer


class TestWaiting:
    def test_a_message_ends_it(self, run):
        waiting = Waiting(run, 15)
        say(run, "here")
        assert [each["content"] for each in waiting.result().json()["messages"]] == ["here"]

    def test_its_time_ends_it(self, run):
        assert run.get("/run/messages", wait=1).json() == {"messages": [], "next": 0}

    def test_the_end_of_the_run_cuts_it(self, run):
        waiting = Waiting(run, 15)
        run.end()
        assert_problem(waiting.result(), 401, "invalid_token")

    def test_the_cancelling_of_its_task_cuts_it(self, run):
        waiting = Waiting(run, 15)
        run.person.request("POST", f"/api/events/{run.task['id']}/cancel")
        assert_problem(waiting.result(), 401, "invalid_token")

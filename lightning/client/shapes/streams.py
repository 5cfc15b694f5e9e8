"""What streams bring, and what is made of it."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from lightning.client.shapes.events import Event, EventWithOutputs


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer, on its way before the answer is recorded.

    Parameters:
      event: The `llm.chat` that is being answered.
      attempt: The attempt that wrote it, replays included; a later one voids the earlier.
      offset: How many characters of the answer come before it.
      text: The piece.
    """

    event: str
    attempt: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class RunFrame:
    """What a run shows of itself while it goes on; its end is an event, `worker.task.result`.

    Parameters:
      kind: ``run`` says where it stands, ``log`` what it printed next, ``progress`` how far it has come.
      run: Its id.
      task: The `worker.task` that it is of.
      text: ``starting`` or ``running``; what was printed; what it says of its progress.
      offset: For ``log``: how many characters were printed before.
      percent: For ``progress``, if the run gives one.
    """

    kind: Literal["run", "log", "progress"]
    run: str
    task: str
    text: str
    offset: int = 0
    percent: float | None = None


#: What a stream brings.
Frame: TypeAlias = Event | Delta | RunFrame


@dataclass(frozen=True, slots=True)
class Answer:
    """A recorded answer.

    Parameters:
      id: Of the `llm.chat.response`.
      content: The text.
      conversation: The conversation's id, to go on in it.
      model: Which model wrote it.
      finish_reason: Why it stopped.
      usage: Tokens, as the model's server counted them.
      event: The `llm.chat` with its outputs, as the platform tells it.
    """

    id: str
    content: str
    conversation: str
    model: str
    finish_reason: str
    usage: dict[str, int] | None
    event: EventWithOutputs

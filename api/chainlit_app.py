"""What Chainlit runs: a chat with the platform, as a client of its HTTP API and of nothing else.

`python -m api.chat.main` serves it; `api/chat/` has what these callbacks do.
"""

# Chainlit has typed its callbacks in part
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false

import asyncio
from typing import Any, cast

import chainlit as cl
from chainlit.data.base import BaseDataLayer
from chainlit.session import WebsocketSession
from fastapi import HTTPException, Request, Response

from api.chat import approvals, questions, talk, toolless, visit
from api.chat.follow import CANCEL
from api.chat.talk import Talk
from api.chat.threads import Threads
from lightning.client import ClientError

#: A page that was not reconnected for so long is gone; Chainlit has forgotten it by then.
GONE_SECONDS = 90.0


@cl.data_layer
def data_layer() -> BaseDataLayer:
    """Give the platform's conversations for threads."""
    return Threads()


@cl.password_auth_callback
async def log_in(username: str, password: str) -> cl.User | None:
    """Log in with an account of the platform."""
    try:
        asked = visit.current.get()
        session = await asked.sessions.begin(username, password, asked.forwarded_for)
    except ClientError as error:
        if error.status in {401, 422}:
            return None
        raise HTTPException(error.status or 503, str(error)) from error
    return cl.User(identifier=session.id, display_name=username)


@cl.on_logout
async def log_out(request: Request, response: Response) -> None:
    """End the session on the platform, too."""
    del request, response
    parts = visit.current.get()
    if parts.session is not None:
        await parts.sessions.end(parts.session.id)


@cl.on_chat_resume
async def resume(thread: Any) -> None:
    """Go on in a conversation."""
    del thread
    await talk.here().resume()


@cl.on_message
async def say(message: cl.Message) -> None:
    """Say something, and show what is answered."""
    await talk.here().say(message)


@cl.on_stop
async def stop() -> None:
    """Cancel what is being answered."""
    await talk.here().stop()


@cl.on_chat_end
async def end() -> None:
    """Show nothing any more, once the page is gone for good."""
    tab, session = talk.here(), cl.context.session
    if isinstance(session, WebsocketSession):
        asyncio.get_running_loop().call_later(GONE_SECONDS, _leave, tab, session, session.socket_id)


@cl.action_callback(approvals.DECIDE)
async def decide(action: cl.Action) -> None:
    """Decide on an action as it was shown."""
    client, asked = visit.client(), cast("dict[str, Any]", action.payload)
    try:
        decided = await client.decide(asked["approval"], asked["decision"], asked["hash"])
    except ClientError as error:
        await cl.context.emitter.send_toast(str(error), "error")
        decided = await client.approval(asked["approval"])
    await approvals.settle(decided)


@cl.action_callback(CANCEL)
async def cancel(action: cl.Action) -> None:
    """Cancel a turn with its runs."""
    try:
        await talk.here().cancel(cast("dict[str, Any]", action.payload)["root"])
    except ClientError as error:
        await cl.context.emitter.send_toast(str(error), "error")


@cl.action_callback(questions.ANSWER)
async def answer(action: cl.Action) -> None:
    """Answer a run as one of its choices says."""
    asked = cast("dict[str, str]", action.payload)
    try:
        await questions.answer(asked["run"], asked["question"], asked["content"])
    except ClientError as error:
        await cl.context.emitter.send_toast(str(error), "error")


@cl.action_callback(questions.WRITE)
async def write(action: cl.Action) -> None:
    """Have what is written next answer a run."""
    asked = cast("dict[str, str]", action.payload)
    is_next = talk.here().answer_next(asked["run"], asked["question"])
    text = "What you write next goes to the run." if is_next else "What you write next goes to the model."
    await cl.context.emitter.send_toast(text)


@cl.action_callback(toolless.GO_ON)
async def go_on_without_tools(action: cl.Action) -> None:
    """Have the conversation offer no tools."""
    try:
        await talk.here().go_on_without_tools()
        await action.remove()
    except ClientError as error:
        await cl.context.emitter.send_toast(str(error), "error")


def _leave(tab: Talk, session: WebsocketSession, socket_id: str) -> None:
    if session.socket_id == socket_id:
        tab.leave()

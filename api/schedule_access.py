"""What all routes of schedules begin with: whose schedule it is, and what is asked for."""

from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from api.requests import authenticated, platform
from lightning.domain.schedule import Schedule
from lightning.domain.tokens import Claims
from lightning.errors import InvalidEvent, json_pointer

#: What any of them may answer that reads a schedule.
UNREADABLE = ("unreadable_schedule",)


async def own(request: Request) -> tuple[Claims, Schedule]:
    """Give the caller, and the schedule of theirs that the path names.

    Raises:
      NotFound: They have no such schedule.
    """
    claims = await authenticated(request)
    schedule = await platform(request).schedules.get(claims.subject, request.path_params["schedule"])
    return claims, schedule


Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], raw: object) -> Model:
    """Read a form; what is wrong is named, with an example where the form has one.

    Raises:
      InvalidEvent: ``invalid_field``.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        message, named = first["msg"].removeprefix("Value error, "), first["loc"]
        field = model.model_fields.get(str(named[0])) if named else None
        if field is not None and field.examples and "example" not in message:
            message += f"; an example is {orjson.dumps(field.examples[0]).decode()}"
        raise InvalidEvent(message, code="invalid_field", pointer=json_pointer(named)) from None

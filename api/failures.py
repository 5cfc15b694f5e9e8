"""Which problems an operation may answer: its own, and those that follow from its kind."""

from collections.abc import Mapping, Sequence

from api.operation import Operation

_Codes = Mapping[int, Sequence[str]]

_TOKEN: _Codes = {401: ("token_missing", "invalid_token"), 403: ("scope_missing",)}
_RUN_TOKEN: _Codes = {401: ("token_missing", "invalid_token"), 429: ("run_rate_limited",)}
_PATH: _Codes = {404: ("not_found",)}
_QUERY: _Codes = {400: ("invalid_parameter",)}
_BODY: _Codes = {408: ("body_timeout",), 413: ("too_large",)}

#: What `lightning.strict_json` and the models refuse.
_JSON: _Codes = {
    400: (
        "not_json",
        "not_utf8",
        "too_deep",
        "duplicate_key",
        "number_out_of_range",
        "unstorable_text",
    ),
    422: ("invalid_field",),
}
_STORE: _Codes = {503: ("store_unavailable", "query_too_long", "too_many_queries")}
_ANY: _Codes = {500: ("internal",)}

#: Answers that say in ``Retry-After`` when to come again.
RETRY_LATER = frozenset({429, 503})


def failures(operation: Operation) -> dict[int, list[str]]:
    """List the codes of the problems of an operation by status, both in order.

    Parameters:
      operation: Whose; what it takes and asks for decides which it shares with others.
    """
    tables = [
        (True, operation.problems),
        (operation.scope is not None, _TOKEN),
        (operation.for_runs, _RUN_TOKEN),
        (bool(operation.path_parameters), _PATH),
        (operation.query is not None, _QUERY),
        (operation.body is not None, _BODY),
        (operation.body is not None and not operation.raw_body, _JSON),
        (operation.needs_store, _STORE),
        (True, _ANY),
    ]
    found: dict[int, dict[str, None]] = {}
    for applies, table in tables:
        if applies:
            for status, codes in table.items():
                found.setdefault(status, {}).update(dict.fromkeys(codes))
    return {status: list(found[status]) for status in sorted(found)}

"""The part of Cosmos DB's query language that the platform's store speaks."""

from ops.emulators.cosmos.sql.evaluate import Parameters, evaluator
from ops.emulators.cosmos.sql.nodes import Query
from ops.emulators.cosmos.sql.parser import parse_condition, parse_query

__all__ = ["Parameters", "Query", "evaluator", "parse_condition", "parse_query"]

"""The entities of one namespace, by address."""

from dataclasses import dataclass, field
from urllib.parse import unquote

from ops.emulators.servicebus.entities.clock import Clock
from ops.emulators.servicebus.entities.errors import entity_not_found, not_emulated
from ops.emulators.servicebus.entities.properties import EntityProperties
from ops.emulators.servicebus.entities.queue import DEAD_LETTER_SUFFIX, Queue
from ops.emulators.servicebus.entities.store import MemoryStore, Store
from ops.emulators.servicebus.entities.topic import Topic

MANAGEMENT = "$management"
SUBSCRIPTIONS = "/subscriptions/"


@dataclass(frozen=True, slots=True)
class SubscriptionDeclaration:
    """A subscription that exists from the start."""

    name: str
    properties: EntityProperties


@dataclass(frozen=True, slots=True)
class Declarations:
    """The entities that exist from the start.

    Parameters:
      queues: Properties of the queues, by name.
      topics: Properties and subscriptions of the topics, by name.
      default: The properties of entities that come to be when they are first used.
      is_strict: Whether none do.
    """

    queues: dict[str, EntityProperties] = field(default_factory=dict[str, EntityProperties])
    topics: dict[str, tuple[EntityProperties, tuple[SubscriptionDeclaration, ...]]] = field(
        default_factory=dict[str, tuple[EntityProperties, tuple[SubscriptionDeclaration, ...]]]
    )
    default: EntityProperties = field(default_factory=EntityProperties)
    is_strict: bool = False


class Namespace:
    """Finds entities; unless it is strict, one that is used for the first time comes to be.

    An undeclared name is what its first receiver makes of it: a queue, or a topic if a subscription is
    received from. Until then it is a queue, and what was sent to it is dropped if it becomes a topic, as a
    topic without subscriptions drops it.

    Parameters:
      declarations: The entities to begin with.
      clock: What wakes them.
      store: Where their messages are kept.
    """

    def __init__(
        self, declarations: Declarations, *, clock: Clock | None = None, store: Store | None = None
    ) -> None:
        self.clock = clock or Clock()
        self.store = store or MemoryStore()
        self._default = declarations.default
        self._is_strict = False
        self._entities: dict[str, Queue | Topic] = {}
        self._undecided: set[str] = set()
        for name, properties in declarations.queues.items():
            self._add_queue(name, properties)
        for name, (properties, subscriptions) in declarations.topics.items():
            topic = self._add_topic(name, properties)
            for subscription in subscriptions:
                self._add_subscription(topic, subscription.name, subscription.properties)
        self._is_strict = declarations.is_strict

    def entities(self) -> list[Queue | Topic]:
        """Give all queues and topics, with the subscriptions and dead-letter queues of each."""
        found: list[Queue | Topic] = []
        for entity in self._entities.values():
            found.append(entity)
            queues = [entity] if isinstance(entity, Queue) else list(entity.subscriptions.values())
            found += queues if isinstance(entity, Topic) else []
            found += [queue.dead_letters for queue in queues if queue.dead_letters is not None]
        return found

    def queues(self) -> list[Queue]:
        """Give the queues by name, without dead-letter queues and subscriptions."""
        found = (entity for entity in self._entities.values() if isinstance(entity, Queue))
        return sorted(found, key=lambda queue: queue.name.lower())

    def target(self, path: str) -> Queue | Topic:
        """Give what a path sends to.

        Raises:
          EntityError: There is no such entity, or it takes no messages.
        """
        key = path.lower()
        if SUBSCRIPTIONS in key or key.endswith(DEAD_LETTER_SUFFIX.lower()):
            raise entity_not_found(path)
        entity = self._entities.get(key)
        if entity is None:
            self._refuse_if_strict(path)
            entity = self._add_queue(path, self._default)
            self._undecided.add(key)
        return entity

    def source(self, path: str) -> Queue:
        """Give what a path receives from.

        Raises:
          EntityError: There is no such entity, or nothing can be received from it.
        """
        key = path.lower()
        if key.endswith(DEAD_LETTER_SUFFIX.lower()):
            letters = self.source(path[: -len(DEAD_LETTER_SUFFIX)]).dead_letters
            if letters is None or letters.name.lower() != key:
                raise entity_not_found(path)
            return letters
        if "/$" in key:
            raise not_emulated(f"'{path}'")
        if SUBSCRIPTIONS in key:
            return self._subscription(path)
        entity = self._entities.get(key)
        if entity is None:
            self._refuse_if_strict(path)
            entity = self._add_queue(path, self._default)
        if isinstance(entity, Topic):
            raise entity_not_found(path)
        self._undecided.discard(key)
        return entity

    def managed(self, path: str) -> Queue | Topic:
        """Give the entity that a management node belongs to.

        Raises:
          EntityError: There is no such entity.
        """
        key = path.lower()
        if key in self._entities:
            return self._entities[key]
        if SUBSCRIPTIONS in key or key.endswith(DEAD_LETTER_SUFFIX.lower()):
            return self.source(path)
        return self.target(path)

    def find(self, name: str) -> Queue | Topic | None:
        """Give an entity that exists, by its path."""
        wanted = name.lower()
        return next((entity for entity in self.entities() if entity.name.lower() == wanted), None)

    def revive(self, name: str) -> Queue | Topic:
        """Give an entity that a store has kept, whether it is declared or not."""
        is_strict, self._is_strict = self._is_strict, False
        try:
            return self.managed(name)
        finally:
            self._is_strict = is_strict

    def _subscription(self, path: str) -> Queue:
        at = path.lower().index(SUBSCRIPTIONS)
        topic_name, name = path[:at], path[at + len(SUBSCRIPTIONS) :]
        if "/" in name:
            raise entity_not_found(path)
        key = topic_name.lower()
        topic = self._entities.get(key)
        if topic is None or key in self._undecided:
            self._refuse_if_strict(path)
            self._undecided.discard(key)
            if isinstance(topic, Queue):
                topic.clear()
            topic = self._add_topic(topic_name, self._default)
        if isinstance(topic, Queue):
            raise entity_not_found(path)
        subscription = topic.subscriptions.get(name.lower())
        if subscription is None:
            self._refuse_if_strict(path)
            subscription = self._add_subscription(topic, name, self._default)
        return subscription

    def _refuse_if_strict(self, path: str) -> None:
        if self._is_strict:
            raise entity_not_found(path)

    def _add_queue(self, name: str, properties: EntityProperties) -> Queue:
        queue = self._new_queue(name, properties)
        self.store.open(name)
        self._entities[name.lower()] = queue
        return queue

    def _add_topic(self, name: str, properties: EntityProperties) -> Topic:
        self.store.open(name)
        topic = Topic(name, properties, clock=self.clock, store=self.store)
        self._entities[name.lower()] = topic
        return topic

    def _add_subscription(self, topic: Topic, name: str, properties: EntityProperties) -> Queue:
        subscription = self._new_queue(f"{topic.name}/Subscriptions/{name}", properties)
        topic.subscriptions[name.lower()] = subscription
        self.store.open(subscription.name)
        return subscription

    def _new_queue(self, name: str, properties: EntityProperties) -> Queue:
        letters = Queue(
            name + DEAD_LETTER_SUFFIX, properties, clock=self.clock, store=self.store, dead_letters=None
        )
        return Queue(name, properties, clock=self.clock, store=self.store, dead_letters=letters)


def path_of(address: str) -> str:
    """Take the path out of an address, which may be a URI: ``sb://host:port/queue`` is ``queue``."""
    if "://" in address:
        address = address.split("://", 1)[1].partition("/")[2]
    return unquote(address).strip("/")


def split_management(path: str) -> tuple[str, bool]:
    """Take ``/$management`` off a path.

    Returns:
      The entity's path, and whether the management node is meant.
    """
    if path.lower() == MANAGEMENT:
        return "", True
    if path.lower().endswith("/" + MANAGEMENT):
        return path[: -len(MANAGEMENT) - 1], True
    return path, False

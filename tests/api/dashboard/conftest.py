import pytest

from tests.api.dashboard.browsing import visiting


@pytest.fixture
def visitor(person):
    with visiting(person) as visitor:
        yield visitor


@pytest.fixture
def operator(ingress):
    with visiting(ingress.person(role="operator")) as visitor:
        yield visitor

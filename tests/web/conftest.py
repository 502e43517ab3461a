"""A portal in this process, over a stand-in for the workers' side; and images to put into it."""

from pathlib import Path

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from tests.web.stand_in import StandInClient, photo
from web import create_app
from workers import settings as settings_of
from workers.settings import Settings


@pytest.fixture
def portal_settings(tmp_path: Path) -> Settings:
    return settings_of.load({"LOOKALIKE_HOME": str(tmp_path / "home"), "LOOKALIKE_MAX_UPLOAD_MB": "1"})


@pytest.fixture
def workers_side(portal_settings: Settings) -> StandInClient:
    return StandInClient(portal_settings)


@pytest.fixture
def app(portal_settings: Settings, workers_side: StandInClient) -> APIFlask:
    app = create_app(portal_settings, client=workers_side)  # type: ignore[arg-type]
    app.testing = False  # Errors are answered as they are in production, not raised into the test.
    return app


@pytest.fixture
def browser(app: APIFlask) -> FlaskClient:
    """Sends requests as a browser on this machine does, cookies included."""
    return app.test_client()


@pytest.fixture
def red(workers_side: StandInClient) -> str:
    return keep(workers_side, (200, 30, 30), "reds/cherry.jpg", "red")


@pytest.fixture
def blue(workers_side: StandInClient) -> str:
    return keep(workers_side, (30, 30, 200), "blues/sky.jpg", "blue")


def keep(workers_side: StandInClient, colour: tuple[int, int, int], path: str, label: str | None) -> str:
    """Puts an image of one colour into the gallery; returns its id."""
    id = workers_side.add(photo(colour), path=path, label=label).id
    workers_side.index([id])
    return id


def possessions(workers_side: StandInClient) -> tuple[object, ...]:
    """What a person has put into a gallery, and could lose."""
    return (
        {(image.id, image.label) for image in workers_side.images(limit=100)[0]},
        {(query.id, query.name) for query in workers_side.queries.all()},
        {(each.pair, each.is_same) for each in workers_side.answers.all()},
        {each.pair for each in workers_side.duplicates._apart.all()},
        workers_side.active().model,
    )

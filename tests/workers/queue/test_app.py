"""The application sends to the server that the settings name, however they name it."""

import pytest
import redis

from workers.queue.app import make_app
from workers.settings import Settings


@pytest.mark.parametrize("database", [0, 3])
@pytest.mark.parametrize("is_interactive", [True, False])
def test_a_task_reaches_a_server_that_listens_on_a_socket(queue_url: str, database: int, is_interactive: bool) -> None:
    url = f"{queue_url}?db={database}" if database else queue_url
    with redis.Redis.from_url(url) as queue:
        queue.flushall()
        make_app(Settings(redis_url=url), is_interactive=is_interactive).send_task("a_task", queue="search")
        assert queue.llen("search") == 1

"""Sessions and failures in a real Valkey."""

from workers.client import Client
from workers.client.throttle import Throttle
from workers.settings import load


def test_a_session_is_known_to_every_portal_until_one_ends_it(queue, queue_url, tmp_path):
    settings = load({"LOOKALIKE_REDIS_URL": queue_url, "LOOKALIKE_HOME": str(tmp_path)})
    one, other = Client(settings).sessions, Client(settings).sessions
    id = one.begin("anna")
    assert other.holder(id) == "anna"
    other.end(id)
    assert one.holder(id) is None


def test_the_server_holds_no_id_and_forgets_sessions_that_nobody_uses(queue, queue_url, tmp_path):
    settings = load({"LOOKALIKE_REDIS_URL": queue_url, "LOOKALIKE_HOME": str(tmp_path)})
    id = Client(settings).sessions.begin("anna")
    (key,) = queue.keys("lookalike:session:*")
    assert id not in key
    assert 0 < queue.ttl(key) <= 14 * 86_400


def test_portals_count_failures_together_and_counters_go_by_themselves(queue, queue_url):
    one, other = Throttle.on_redis(queue_url), Throttle.on_redis(queue_url)
    for _ in range(3):
        one.note("192.0.2.1:abc")
    for _ in range(2):
        other.note("192.0.2.1:abc")
    assert 0 < one.wait_s("192.0.2.1:abc") <= 60
    assert other.wait_s("192.0.2.1:abd") == 0
    keys = queue.keys("lookalike:failures*")
    assert keys
    assert all(0 < queue.ttl(key) <= 3_600 for key in keys)


def test_a_queue_that_is_away_locks_nobody_out():
    throttle = Throttle.on_redis("redis://127.0.0.1:1/0")
    throttle.note("x")
    assert throttle.wait_s("x") == 0

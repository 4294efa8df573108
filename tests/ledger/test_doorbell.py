"""The doorbell wakes a worker when it can, and never holds anybody up when it cannot."""

import json
import socket
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing

import pytest
import redis

from lab.demo.free_ports import free_port
from mammography.ledger.doorbell import QUEUE, TASK, Doorbell, make_app
from tests.servers import RedisServer


@pytest.fixture
def doorbell(redis_server: RedisServer) -> Iterator[Doorbell]:
    bell = Doorbell(redis_server.url)
    yield bell
    bell.close()


def waiting(server: RedisServer) -> list[str]:
    """Return the studies that the bell was rung for and that no worker took, oldest first."""
    with closing(redis.Redis(unix_socket_path=str(server.socket))) as client:
        messages = [json.loads(message) for message in reversed(client.lrange(QUEUE, 0, -1))]
    assert {message["headers"]["task"] for message in messages} <= {TASK}
    return [json.loads(b64decode(message["body"]))[0][0] for message in messages]


def connections(server: RedisServer) -> int:
    with closing(redis.Redis(unix_socket_path=str(server.socket))) as client:
        return int(client.info("stats")["total_connections_received"])


def test_a_bell_carries_the_identity_of_a_study_and_nothing_else(
    redis_server: RedisServer, doorbell: Doorbell
) -> None:
    assert doorbell.ring("1.2.3")
    assert doorbell.ring("1.2.4")
    assert waiting(redis_server) == ["1.2.3", "1.2.4"]


def test_a_hundred_bells_need_one_connection(redis_server: RedisServer, doorbell: Doorbell) -> None:
    doorbell.ring("1.2.3")
    before = connections(redis_server)
    assert all(doorbell.ring(f"1.2.{number}") for number in range(100))
    assert connections(redis_server) == before + 1  # the one that asks


def test_threads_share_a_bell(redis_server: RedisServer, doorbell: Doorbell) -> None:
    rung = [threading.Thread(target=doorbell.ring, args=(f"1.2.{number}",)) for number in range(16)]
    for thread in rung:
        thread.start()
    for thread in rung:
        thread.join()
    assert sorted(waiting(redis_server)) == sorted(f"1.2.{number}" for number in range(16))


def test_the_bell_says_when_redis_is_away_and_rings_when_it_is_back(
    redis_server: RedisServer, doorbell: Doorbell
) -> None:
    assert doorbell.ring("1.2.1")
    redis_server.kill()
    started = time.monotonic()
    assert not doorbell.ring("1.2.2")
    assert not doorbell.ring("1.2.2")
    assert time.monotonic() - started < 4
    redis_server.start()
    assert doorbell.ring("1.2.3")
    assert waiting(redis_server) == ["1.2.3"]


def test_the_bell_rings_on_after_redis_was_flushed_or_restarted_unnoticed(
    redis_server: RedisServer, doorbell: Doorbell
) -> None:
    assert doorbell.ring("1.2.1")
    redis_server.flush()
    assert doorbell.ring("1.2.2")
    assert waiting(redis_server) == ["1.2.2"]
    redis_server.kill()
    redis_server.start()
    assert [doorbell.ring("1.2.3"), doorbell.ring("1.2.4")][-1]
    assert waiting(redis_server)[-1] == "1.2.4"


def test_a_redis_that_listens_and_says_nothing_holds_nobody_up() -> None:
    with closing(socket.create_server(("127.0.0.1", free_port()))) as silent:
        bell = Doorbell(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        started = time.monotonic()
        assert not bell.ring("1.2.3")
        assert time.monotonic() - started < 3
        bell.close()


def test_a_redis_that_refuses_to_write_is_away(redis_server: RedisServer, doorbell: Doorbell) -> None:
    assert doorbell.ring("1.2.1")
    with closing(redis.Redis(unix_socket_path=str(redis_server.socket))) as client:
        client.config_set("maxmemory", 1)
        assert not doorbell.ring("1.2.2")
        client.config_set("maxmemory", 0)
    assert doorbell.ring("1.2.3")


def test_nothing_but_json_is_taken_from_the_queue(redis_server: RedisServer) -> None:
    assert make_app(redis_server.url).conf.accept_content == ["json"]

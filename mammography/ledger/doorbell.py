"""The doorbell: a message that wakes a worker, and carries the identity of a study and nothing else.

The ledger alone says what is to be read. A lost bell is rung again by the node's sweep, a doubled one finds the
study claimed; so the bell may fail, but it may never hold anybody up.
"""

import threading

import structlog
from celery import Celery
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

QUEUE = "mammocalc.read"
"""The queue that workers listen on."""

TASK = "mammocalc.read_study"
"""The name of the one task; its one argument is the Study Instance UID."""

_SHORT = 1.0
"""Seconds to wait for a connection to the broker."""

_log = structlog.get_logger()


def make_app(queue_url: str) -> Celery:
    """Return the Celery application of both doors: redis://host:port/db or redis+socket:///path.

    Bells are JSON, taken one at a time and never acknowledged: the ledger's lease brings a dead worker's study
    back, sooner than a broker would. (With Celery 5.7 an acknowledgement that failed, because Redis went away
    during a reading, left the worker with a full prefetch window: it took no bell ever after.) There are no
    results: what came of a bell stands in the ledger.
    """
    app = Celery("mammocalc", broker=queue_url, set_as_current=False)
    exchange = Exchange(QUEUE, type="direct")
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        task_ignore_result=True,
        task_default_queue=QUEUE,
        task_queues=[Queue(QUEUE, exchange, routing_key=QUEUE, no_ack=True)],
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        enable_utc=True,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=_SHORT,
        broker_transport_options={
            "socket_connect_timeout": _SHORT,
            "socket_keepalive": True,
        },
    )
    return app


class Doorbell:
    """What wakes a worker for a study; threads may share one."""

    def __init__(self, queue_url: str) -> None:
        self._app = make_app(queue_url)
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def ring(self, study_instance_uid: str) -> bool:
        """Ring for a study; False, within about two seconds, where the broker is away. Never raises for that.

        Who rings for many studies stops at the first False.
        """
        with self._lock:
            try:
                self._publish(study_instance_uid)
            except (OperationalError, RedisError, OSError) as away:
                self._hang_up()
                _log.warning("doorbell-away", study_instance_uid=study_instance_uid, error=str(away))
                return False
        return True

    def close(self) -> None:
        """Close the connection to the broker."""
        with self._lock:
            self._hang_up()

    def _publish(self, study_instance_uid: str) -> None:
        """Send the message on the open connection, or on a new one."""
        if self._connection is None:
            self._connection = self._app.connection_for_write(
                transport_options={"socket_timeout": _SHORT, "max_retries": 0}
            )
        producer = self._app.amqp.Producer(self._connection)
        self._app.send_task(TASK, args=[study_instance_uid], queue=QUEUE, producer=producer, retry=False)

    def _hang_up(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.release()

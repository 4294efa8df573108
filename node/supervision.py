"""All roles of a node as processes under one: started in order, started again when they die, stopped together."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from node.mortality import die_with_parent

log = structlog.get_logger()

SHORTEST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A role that ran for so long starts again without a pause."""
STOPPING_SECONDS = 7.0
"""How long a role may take to finish what it does; then it is killed, and the ledger brings its work back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One process of the node."""

    name: str
    command: Sequence[str]
    after_death: Callable[[int, bool], None] = lambda _pid, _stopping: None
    """Called for each process that ended, with its identifier and whether the supervisor stopped it."""


@dataclass(slots=True, kw_only=True)
class _Running:
    role: Role
    process: subprocess.Popen[bytes]
    started: float
    pause: float = SHORTEST_PAUSE_SECONDS
    start_again_at: float | None = None


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """Runs roles until it is told to stop. The first role is stopped last: it is the broker."""

    environment: Mapping[str, str]
    _running: list[_Running] = field(default_factory=list)
    _stopping: bool = False

    def start(self, role: Role) -> None:
        """Start one role."""
        running = _Running(role=role, process=self._spawn(role), started=time.monotonic())
        self._running.append(running)

    def run(self, ready: Callable[[], bool], when_ready: Callable[[], None]) -> None:
        """Watch the roles until SIGINT or SIGTERM, then stop them all; call `when_ready` once `ready` holds."""
        said = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        while not self._stopping:
            for running in self._running:
                self._watch(running)
            if not said and ready():
                said = True
                when_ready()
            time.sleep(0.1)
        self.stop()

    def stop(self) -> None:
        """End every role, the first one last; what does not end in time is killed."""
        first, others = self._running[:1], self._running[1:]
        for group in (others, first):
            self._end(group)
        log.info("node-stopped")

    def _on_signal(self, number: int, _frame: object) -> None:
        log.info("node-stopping", signal=signal.Signals(number).name)
        self._stopping = True

    def _end(self, group: Sequence[_Running]) -> None:
        for running in group:
            if running.process.poll() is None:
                running.process.terminate()
        deadline = time.monotonic() + STOPPING_SECONDS
        for running in group:
            try:
                running.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("role-killed", name=running.role.name, after_seconds=STOPPING_SECONDS)
                running.process.kill()
                running.process.wait()
            running.role.after_death(running.process.pid, True)

    def _watch(self, running: _Running) -> None:
        """Start a dead role again, after a pause that grows while it keeps dying."""
        now = time.monotonic()
        if running.start_again_at is None and running.process.poll() is not None:
            steady = now - running.started > STEADY_SECONDS
            running.pause = (
                SHORTEST_PAUSE_SECONDS if steady else min(running.pause * 2, LONGEST_PAUSE_SECONDS)
            )
            running.start_again_at = now + running.pause
            log.error(
                "role-died",
                name=running.role.name,
                exit_status=running.process.returncode,
                again_in_seconds=running.pause,
            )
            running.role.after_death(running.process.pid, False)
        if running.start_again_at is not None and now >= running.start_again_at:
            running.start_again_at = None
            running.started = now
            running.process = self._spawn(running.role)

    def _spawn(self, role: Role) -> subprocess.Popen[bytes]:
        log.info("role-started", name=role.name)
        return subprocess.Popen(
            role.command,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509  the supervisor has one thread
        )

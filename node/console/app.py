"""The console's application: what it may show, to whom, and how it is served."""

import threading
from collections.abc import Collection, Sequence
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import OperationalError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mammography import __version__
from mammography.ledger.engine import Ledger
from node.console.api import Api
from node.console.measures import Measures
from node.console.pages import Pages

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1", "[::1]")
"""The Host headers that the console always answers to."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""What every answer tells the browser: run, load and frame nothing that is not ours."""

_log = structlog.get_logger()


class GuardedHeaders:
    """Adds HEADERS to every answer, and keeps the browser from storing what says nothing about storing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, send_guarded if scope["type"] == "http" else send)


def make_console(
    *,
    ledger: Ledger,
    data_dir: Path,
    node_name: str,
    destinations: Sequence[str],
    host_names: Collection[str] = (),
) -> FastAPI:
    """Return the console of one node; it reads the ledger and the data folder and changes neither.

    `node_name` is the node's AE title, `destinations` are the names that the settings give to where answers
    go. Requests are answered when their Host header names this machine's loopback or one of `host_names`.
    """
    app = FastAPI(
        title="Mammocalc console",
        version=__version__,
        description="Where every study is. Read only.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    pages = Pages(ledger=ledger, data_dir=data_dir, node_name=node_name, destinations=tuple(destinations))
    app.include_router(Api(ledger=ledger, data_dir=data_dir, node_name=node_name).router())
    app.include_router(pages.router())
    app.include_router(Measures(ledger=ledger, data_dir=data_dir).router())
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    _answer_problems(app, pages)
    hosts = [*LOOPBACK_NAMES, *(name for name in host_names if name not in {"0.0.0.0", "::", ""})]  # noqa: S104
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
    app.add_middleware(GuardedHeaders)
    return app


def make_server(app: FastAPI, host: str, port: int) -> uvicorn.Server:
    """Return a server that is not running yet: `run()` serves until `should_exit` is set or a signal comes.

    In a thread that is not the main one it leaves signals alone.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            access_log=False,
            date_header=True,
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=5,
            ws="none",
        )
    )


def serve(app: FastAPI, host: str, port: int, stop: threading.Event | None = None) -> None:
    """Serve the console until `stop` is set, or the process is told to end."""
    server = make_server(app, host, port)
    if stop is not None:
        threading.Thread(target=_close_after, args=(stop, server), name="console-stop", daemon=True).start()
    _log.info("console-opened", host=host, port=port)
    server.run()
    _log.info("console-closed", host=host, port=port)


def _close_after(stop: threading.Event, server: uvicorn.Server) -> None:
    """Close the server once `stop` is set."""
    stop.wait()
    server.should_exit = True


def _answer_problems(app: FastAPI, pages: Pages) -> None:
    """Make every problem a sentence: on a page for people, as JSON under /api and /healthz."""

    def answer(request: Request, status: int, sentence: str) -> Response:
        if request.url.path.startswith(("/api/", "/healthz")):
            return JSONResponse({"detail": sentence}, status_code=status)
        return pages.problem(status, sentence)

    def refused(request: Request, problem: Exception) -> Response:
        status = problem.status_code if isinstance(problem, HTTPException) else 500
        sentence = problem.detail if isinstance(problem, HTTPException) else ""
        if status == 404 and sentence == "Not Found":
            sentence = "There is no such page."
        if status == 405:
            sentence = "The console only shows; it changes nothing."
        return answer(request, status, sentence)

    def misasked(request: Request, problem: Exception) -> Response:
        errors = problem.errors() if isinstance(problem, RequestValidationError) else []
        named = ", ".join(f"{each['loc'][1]} cannot be {each['input']!r}" for each in errors)
        return answer(request, 422, f"The address asks for something that there is not: {named}.")

    def away(request: Request, problem: Exception) -> Response:
        _log.error("ledger-unreachable", reason=str(problem))
        return answer(request, 503, "The ledger cannot be reached; the page comes back when it does.")

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, misasked)
    app.add_exception_handler(OperationalError, away)

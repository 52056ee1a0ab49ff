"""Serves the rating page on this computer. The page shows the two answers in shuffled order, and does not reveal which
of them is the first."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import pydantic
import uvicorn
from pydantic import Field
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from preflab.errors import UserError
from preflab.rating.events import Chosen, make_event
from preflab.rating.folder import RatingStore, clean_name, keep_pairs, open_store, read_labels
from preflab.rating.order import is_swapped
from preflab.rating.page import DEFAULT_QUESTION, page_policy, render_rating, show_pairs
from preflab.rating.pairs import RatedPair

HOST = "127.0.0.1"
PORT = 8765
_MOST_BYTES = 65_536
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
_PAGE_HEADERS = _HEADERS | {
    "Content-Security-Policy": f"{page_policy(connects=True)}; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
}


class ReceivedEvent(Chosen):
    """A choice on the served page. `number`: how many events of this rater came before this choice."""

    rater: str
    number: Annotated[int, Field(ge=0)]


def serve(
    pairs: Sequence[RatedPair],
    folder: Path,
    port: int = PORT,
    *,
    question: str = DEFAULT_QUESTION,
    rater: str = "",
    enough: int = 0,
    announce: Callable[[str], None] = print,
) -> None:
    """Serves the page until Ctrl-C, and saves each label in the folder immediately. `port`: the port of the server (0:
    any free port). `rater`: the rater's name that the page shows at first. `enough`: the server ends when every pair
    has this many labels (0: the server never ends by itself). `announce`: a function that is called with the page's
    address.

    Raises `UserError` if the folder contains other pairs, if another process writes into the folder, or if the port
    cannot be used."""
    keep_pairs(pairs, folder)
    start = clean_name(rater) if rater else ""
    with open_store(folder) as store, _bind(port) as place:
        if enough and count_lacking(store, enough) == 0:
            return

        def end_when_enough() -> None:
            server.should_exit = bool(enough) and count_lacking(store, enough) == 0

        app = make_app(store, question, end_when_enough)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
        address = f"http://{HOST}:{place.getsockname()[1]}/"
        announce(f"{address}?rater={quote(start)}" if start else address)
        try:
            server.run(sockets=[place])
        except KeyboardInterrupt:  # at Ctrl-C, uvicorn ends the server and then raises this error
            return


def count_lacking(store: RatingStore, enough: int) -> int:
    """Returns how many pairs have fewer than `enough` labels."""
    given = Counter(label.pair for label in read_labels(store.folder))
    return sum(given[pair.id] < enough for pair in store.pairs)


def _bind(port: int) -> socket.socket:
    """Returns a socket that already listens. If a browser opens the page before the server has started, the browser
    therefore waits."""
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind((HOST, port))
        place.listen()
    except (OSError, OverflowError) as error:
        place.close()
        raise UserError(
            f"The port {port} cannot be used: {error}. Name another port, or 0 for any free port."
        ) from error
    return place


def make_app(
    store: RatingStore, question: str = DEFAULT_QUESTION, after_saving: Callable[[], None] | None = None
) -> Starlette:
    """Returns the web application. The application answers only requests that name this computer as their host. If
    another site makes its own host name point to this computer, requests under this host name are therefore refused.
    `after_saving`: a function that is called after each saved choice."""
    known = {pair.id for pair in store.pairs}

    async def show_page(request: Request) -> Response:
        data = {"export": "", "question": question, "rater": request.query_params.get("rater", ""), "pairs": []}
        return HTMLResponse(render_rating(data, connects=True), headers=_PAGE_HEADERS)

    async def open_session(request: Request) -> Response:
        rater = clean_name(request.query_params.get("rater", ""))
        shown = show_pairs(store.pairs, [is_swapped(pair.id, rater) for pair in store.pairs])
        events = [{"pair": event.pair, "choice": event.choice} for event in store.events(rater)]
        return JSONResponse({"rater": rater, "pairs": shown, "events": events}, headers=_HEADERS)

    async def save_event(request: Request) -> Response:
        sent = await _read_event(request)
        rater = clean_name(sent.rater)
        earlier = store.events(rater)
        if sent.pair not in known:
            raise HTTPException(404, "This pair is not among the rated pairs. Load the page again.")
        if [(each.pair, each.choice) for each in earlier[sent.number :]] == [(sent.pair, sent.choice)]:
            # The event is already saved: the page sends an event again if the page received no reply.
            return JSONResponse({"saved": len(earlier)}, headers=_HEADERS)
        if sent.number != len(earlier):
            raise HTTPException(409, "Labels under this name were also given on another page. Load this page again.")
        swapped = is_swapped(sent.pair, rater)
        try:
            store.add(rater, [make_event(sent.pair, sent.choice, swapped=swapped, seconds=sent.seconds)])
        except OSError as error:
            raise HTTPException(507, f"The label cannot be written: {error.strerror}.") from error
        if after_saving is not None:
            after_saving()
        return JSONResponse({"saved": len(earlier)}, headers=_HEADERS)

    return Starlette(
        routes=[
            Route("/", show_page),
            Route("/session", open_session),
            Route("/events", save_event, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
        exception_handlers={UserError: _say_fault, HTTPException: _say_status},
    )


async def _read_event(request: Request) -> ReceivedEvent:
    """Reads an event from the body of a request. The body must be JSON: a browser lets the page of another site send
    JSON only with the server's permission (CORS), and this server never gives this permission."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise HTTPException(415, "A label must be sent as JSON.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            raise HTTPException(413, f"A label must have at most {_MOST_BYTES} bytes.")
    try:
        return ReceivedEvent.model_validate_json(body)
    except pydantic.ValidationError as error:
        raise HTTPException(422, "The request does not contain a label.") from error


async def _say_fault(request: Request, error: Exception) -> Response:
    return JSONResponse({"fault": str(error)}, status_code=422, headers=_HEADERS)


async def _say_status(request: Request, error: Exception) -> Response:
    status, words = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, str(error))
    return JSONResponse({"fault": words}, status_code=status, headers=_HEADERS)

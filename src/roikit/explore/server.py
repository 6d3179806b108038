"""The page on this machine alone: its files, and what runs say of the boxes that are chosen on it."""

from __future__ import annotations

import io
import math
import secrets
import socket
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from . import PAGE
from .viewer import Viewer, packed

HOST = "127.0.0.1"
MOST_SHIFTS = 257  # of a line


def new_token() -> str:
    """What an address must begin with: other users of this machine, and other pages of the browser, cannot guess it."""
    return secrets.token_urlsafe(16)


def make_app(viewers: Sequence[Viewer], token: str) -> Starlette:
    """The page under ``/TOKEN/``; anything else is not found."""

    def page(request: Request) -> Response:
        text = (PAGE / "index.html").read_text(encoding="utf-8")
        return HTMLResponse(text.replace("<html ", "<html data-served ", 1) if viewers else text)

    def about(request: Request) -> Response:
        height, width = viewers[0].image.shape[1:]
        return JSONResponse({"height": height, "width": width, "runs": [viewer.about() for viewer in viewers]})

    def image(request: Request) -> Response:
        out = io.BytesIO()
        Image.fromarray(viewers[0].image.permute(1, 2, 0).numpy()).save(out, "PNG")
        return Response(out.getvalue(), media_type="image/png")

    def weights(request: Request) -> Response:
        viewer, box = _asked(request, viewers)
        began = time.perf_counter()
        reading = viewer.read(box)
        took = (time.perf_counter() - began) * 1000
        return JSONResponse({**packed(reading), "box": box, "milliseconds": round(took, 1)})

    def line(request: Request) -> Response:
        viewer, box = _asked(request, viewers)
        shifts = _numbers(request.query_params.get("shifts", ""), "shifts")
        if len(shifts) > MOST_SHIFTS:
            raise HTTPException(400, f"shifts: at most {MOST_SHIFTS}")
        return JSONResponse({"box": box, "values": viewer.line(box, shifts).astype(float).round(5).tolist()})

    def archive(request: Request) -> Response:
        viewer, box = _asked(request, viewers)
        reading, out = viewer.read(box), io.BytesIO()
        np.savez_compressed(
            out,
            weights=reading.weights,
            box=np.array(box),
            grid=np.array(viewer.pool.output_size),
            stride=np.array(viewer.stride(reading.level)),
            level=np.array(viewer.pool.featmap_names[reading.level]),
            run=np.array(viewer.name),
            extractor=np.array(viewer.method),
        )
        name = {"Content-Disposition": 'attachment; filename="weights.npz"'}
        return Response(out.getvalue(), media_type="application/octet-stream", headers=name)

    own = [
        Route("/", page),
        Route("/about.json", about),
        Route("/image.png", image),
        Route("/weights.json", weights),
        Route("/line.json", line),
        Route("/weights.npz", archive),
    ]
    served = [*(own if viewers else own[:1]), Mount("/", StaticFiles(directory=PAGE))]
    # another site's name that leads to this machine is no way in
    guard = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    return Starlette(routes=[Mount(f"/{token}", routes=served)], middleware=[guard])


def _asked(request: Request, viewers: Sequence[Viewer]) -> tuple[Viewer, list[float]]:
    """Of which run, and which box."""
    run, box = request.query_params.get("run", "0"), _numbers(request.query_params.get("box", ""), "box")
    if not run.isdecimal() or int(run) >= len(viewers):
        raise HTTPException(400, f"run: there are {len(viewers)}")
    if len(box) != 4 or box[2] < box[0] or box[3] < box[1]:
        raise HTTPException(400, "box: must be x1,y1,x2,y2 with x1 ≤ x2 and y1 ≤ y2")
    return viewers[int(run)], box


def _numbers(text: str, name: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)) or max(map(abs, values)) > 1e6:
        raise HTTPException(400, f"{name}: must be numbers with commas between them")
    return values


def listen(port: int) -> socket.socket:
    """A socket on this machine alone; port 0 takes a free one. OSError where it cannot be had."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((HOST, port))
        found.listen()
    except BaseException:
        found.close()
        raise
    return found


def serve(app: Any, place: socket.socket) -> None:
    """Until Ctrl-C or SIGTERM; requests under way are ended within a second."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1, lifespan="off"))
    try:
        server.run(sockets=[place])
    except KeyboardInterrupt:  # uvicorn repeats the signal once it has stopped
        pass
    finally:
        place.close()

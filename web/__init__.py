"""The portal: pages for people and a JSON API for programs. It enqueues work and shows answers; it never computes one.

    access/     who may ask: tokens, sign-in, cross-site requests, response headers
    api/        /api/v1, described by /api/v1/openapi.json
    pages/      search, gallery, adding photos, jobs, status
    assets.py    styles and scripts, kept by browsers for ever
    bodies.py   how much a request may send, per route
    probes.py   /health/live, /health/ready and /metrics, for whoever supervises the process
    telemetry.py one id, one log line and one measurement for each request
    problems.py every error as problem+json (API) or as a page

Importing this package loads no torch, timm, Ray or Qdrant: the portal talks to the workers through the queue alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from apiflask import APIFlask

from web import access, api, assets, bodies, pages, probes, problems, telemetry
from workers import settings as settings_of
from workers.client import configure_logging
from workers.settings import Settings

if TYPE_CHECKING:
    from workers.client import Client


def create_app(settings: Settings | None = None, client: Client | None = None) -> APIFlask:
    """The portal as a WSGI application.

    Args:
        settings: what differs between machines; read from the environment when left out.
        client: the queue's client side; connected by the settings when left out.
    """
    if settings is None:  # The process is ours alone: python -m web called.
        settings = settings_of.load()
        configure_logging(settings)
    app = APIFlask(
        __name__,
        title="Lookalike",
        version="1",
        spec_path="/api/v1/openapi.json",
        docs_path=None,  # The ready-made viewers load scripts from elsewhere; our Content-Security-Policy forbids it.
        json_errors=False,
        static_folder=None,  # type: ignore[arg-type] # see web.assets; Flask takes None
    )
    app.config.update(
        LOOKALIKE=settings,
        MAX_IMAGE_BYTES=settings.max_upload_mb * 2**20,
    )
    app.extensions["lookalike"] = client or _connect(settings)
    assets.init_app(app)
    telemetry.init_app(app)
    problems.init_app(app)
    bodies.init_app(app)
    access.init_app(app, settings)
    app.register_blueprint(probes.blueprint)
    api.init_app(app)
    pages.init_app(app)
    return app


def _connect(settings: Settings) -> Client:
    from workers.client import Client

    return Client(settings, is_interactive=True)

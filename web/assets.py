"""Styles and scripts: kept by browsers for ever, and sent compressed, scripts without their comments.

Their address holds a digest of all of them, `/static/<digest>/css/base.css`, so that an update is another address and
nothing ever has to be asked for again. The digest stands in the path, not behind it: scripts import one another by
relative paths. Pages are not compressed: with a secret in them, their size would tell it to who can make them repeat a
guess (BREACH).
"""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rjsmin
from flask import Flask, Response, request
from werkzeug.exceptions import NotFound

_FOLDER = Path(__file__).with_name("static")
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class _Asset:
    data: bytes
    compressed: bytes
    mimetype: str
    etag: str


def init_app(app: Flask) -> None:
    """Registers the endpoint `static`, whose `url_for` knows the digest."""
    assets = {
        path.relative_to(_FOLDER).as_posix(): _read(path) for path in sorted(_FOLDER.rglob("*")) if path.is_file()
    }
    digest = hashlib.sha256("".join(f"{name}{asset.etag}" for name, asset in assets.items()).encode()).hexdigest()[:12]

    @app.url_defaults
    def add_digest(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == "static":
            values.setdefault("digest", digest)

    def static(digest: str, filename: str) -> Response:
        if (asset := assets.get(filename)) is None:
            raise NotFound
        compress = len(asset.compressed) < len(asset.data) and request.accept_encodings["gzip"] > 0
        response = Response(asset.compressed if compress else asset.data, mimetype=asset.mimetype)
        if compress:
            response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
        response.set_etag(asset.etag + ("-gzip" if compress else ""))
        # A page from before an update asks by the old digest: it gets what there is, and keeps nothing.
        response.headers["Cache-Control"] = _FOR_EVER if digest == static_digest else "no-cache"
        response.make_conditional(request)
        return response

    static_digest = digest
    app.add_url_rule("/static/<digest>/<path:filename>", "static", static)


def _read(path: Path) -> _Asset:
    data = path.read_bytes()
    if path.suffix == ".js":
        data = rjsmin.jsmin(data)
    mimetype = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return _Asset(data, gzip.compress(data, 9, mtime=0), mimetype, hashlib.sha256(data).hexdigest()[:16])

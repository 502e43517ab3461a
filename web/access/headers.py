"""What a browser may do with our answers, said in response headers.

Written out rather than taken from flask-talisman: it is a dozen constant lines, and views must be able to say something
stricter (originals are sandboxed).
"""

from flask import Flask, Response, request


def _policy(*, connect: str = "'self'") -> str:
    """What a page may load. `connect`: where its scripts may fetch from."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob:",  # blob: the visitor's own photo, before and while it is searched with
            f"connect-src {connect}",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "require-trusted-types-for 'script'",  # our scripts set text and attributes, never HTML
        )
    )


CONTENT_SECURITY_POLICY = _policy()
# Of the search page: a photo dropped from another site is fetched by the browser, never by us, where that site lets it.
SEARCH_POLICY = _policy(connect="'self' https: http:")
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",  # no other site shows a thumbnail, even where no token is needed
}


def init_app(app: Flask) -> None:
    """Adds the headers to every answer that does not set them itself."""

    @app.after_request
    def add(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if request.is_secure:
            response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        if request.endpoint != "static":
            response.headers.setdefault("Cache-Control", "no-store")
        return response

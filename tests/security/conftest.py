"""The portal of tests/web, for whoever attacks it."""

from tests.web.conftest import app, blue, browser, portal_settings, red, workers_side

__all__ = ["app", "blue", "browser", "portal_settings", "red", "workers_side"]

"""The JSON API under /api/v1, for the portal's own scripts and for other programs.

schemas/       what goes in and out, in marshmallow's terms
fields.py      what its fields are made of
search.py      POST /search
images.py      the gallery: add, list, show, label, delete
changes.py     many images at once, undo, the trash
answers.py     same, or not the same
duplicates.py  copies of photos
coverage.py    what was found in indexed folders, and where a photo is
models.py      models, publishing with a preview, saved queries
system.py      labels, jobs, health
document.py    what the OpenAPI document says beyond what APIFlask finds out by itself
"""

from apiflask import APIBlueprint, APIFlask

from web.access import csrf
from web.api import answers, changes, coverage, document, duplicates, images, models, search, system
from web.bodies import check_api_body

PREFIX = "/api/v1"


def init_app(app: APIFlask) -> None:
    """Registers the routes and the document at /api/v1/openapi.json."""
    v1 = APIBlueprint("api", __name__, url_prefix=PREFIX)
    v1.before_request(check_api_body)
    for part in (search, images, changes, answers, duplicates, coverage, models, system):
        csrf.exempt(part.blueprint)  # Programs have no form token; web.access.cross_site guards these routes.
        v1.register_blueprint(part.blueprint)
    app.register_blueprint(v1)
    document.init_app(app)

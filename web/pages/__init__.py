"""Pages for people. Every page works without JavaScript; scripts make it quick.

search.py     the search page: the product's face
gallery.py    browse, relabel and delete images; one image's page
labelling.py  photos without a label; a page for each label
filters.py    which photos the gallery shows, as its address says it
adding.py     add photos
models.py     models: train, publish, roll back
coverage.py   what was found in indexed folders, and where a photo is
duplicates.py copies of photos as groups
jobs.py       every job: progress, stopping, trying again
system.py     the system's status
formats.py    numbers and times as people read them
"""

from flask import Flask

from web.pages import adding, coverage, duplicates, formats, gallery, jobs, labelling, models, search, system


def init_app(app: Flask) -> None:
    """Registers the pages. A new page is a module here and a line in templates/base.html."""
    formats.init_app(app)
    for module in (search, gallery, labelling, adding, coverage, duplicates, jobs, models, system):
        app.register_blueprint(module.blueprint)

"""The API's vocabulary, as marshmallow schemas: what APIFlask checks requests with and describes answers by.

Answers mirror the messages of `workers.messages`; tests/web/test_openapi.py holds the two together.

base.py        what all answers share, and problems
search.py      searching by example
images.py      the gallery's images, labels and folders
uploads.py     adding photos
changes.py     changing images, undo, the trash
labelling.py   proposals of labels, and labels that may be wrong
answers.py     same, or not the same
duplicates.py  copies of photos
coverage.py    what was found in indexed folders, and where a photo is
jobs.py        long work
models.py      models, publishing with a preview, saved queries
system.py      health
"""

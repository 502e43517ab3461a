"""Nobody meets a browser's own "Choose File": each input for files is a button of the portal that says what for."""

import re
from pathlib import Path

import pytest

import web

TEMPLATES = sorted((Path(web.__file__).parent / "templates").glob("*.html"))
INPUT = re.compile(r'<input [^>]*type="file"[^>]*>')
BUTTON = re.compile(
    r'<label class="button[^"]*choose[^"]*"[^>]*>(?:\{\{[^}]*\}\})?<span>[^<]+</span>(<input [^>]*type="file"[^>]*>)'
)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_an_input_for_files_is_a_button_of_the_portal(template: Path) -> None:
    text = template.read_text("utf-8")
    assert BUTTON.findall(text) == INPUT.findall(text)


def test_a_form_that_waits_for_a_press_names_what_was_chosen() -> None:
    """The others send a file at once, or list it."""
    text = (Path(web.__file__).parent / "templates" / "models.html").read_text("utf-8")
    assert text.count("data-one-photo") == text.count("data-chosen") == 1

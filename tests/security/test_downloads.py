"""A downloaded original is called what it is."""

import unicodedata

import pytest

from tests.web.conftest import keep
from tests.web.stand_in import photo
from web.api.downloads import download_name

ID = "0" * 32


@pytest.mark.parametrize(
    "name, format, expected",
    [
        ("photo.jpg", "JPEG", "photo.jpg"),
        ("photo.JPEG", "JPEG", "photo.JPEG"),
        ("photo.png", "JPEG", "photo.jpg"),
        ("evil.html", "JPEG", "evil.html.jpg"),
        ("evil.jpg.exe", "PNG", "evil.jpg.exe.png"),
        ("\u202egpj.exe", "JPEG", "gpj.exe.jpg"),
        ("a\u200b\u2066b.jpg", "JPEG", "ab.jpg"),
        ("holiday 2024.01.05", "TIFF", "holiday 2024.01.05.tif"),
        ("photo", "HEIF", "photo.heic"),
        ("../../etc/cron.d/x", "PNG", "x.png"),
        ("..\\..\\x.png", "PNG", "x.png"),
        ("a\r\nSet-Cookie: x=1.jpg", "JPEG", "aSet-Cookie_ x=1.jpg"),
        ('x"><script>.html', "JPEG", "x___script_.html.jpg"),
        ("CON", "PNG", "_CON.png"),
        ("nul.jpg", "JPEG", "_nul.jpg"),
        (".htaccess", "PNG", "htaccess.png"),
        ("...", "PNG", f"{ID}.png"),
        ("", "PNG", f"{ID}.png"),
        ("\u202e", "GIF", f"{ID}.gif"),
        ("x", "SOMETHING", "x.bin"),
        ("é" * 300 + ".jpg", "JPEG", "é" * 120 + ".jpg"),
    ],
)
def test_the_name_says_what_the_file_is(name, format, expected):
    assert download_name(name, format, ID) == expected


@pytest.mark.parametrize("name", ["evil.html", "\u202egpj.exe", "x.svg", "a\u2028b.js"])
def test_the_header_has_it(browser, workers_side, name):
    id = keep(workers_side, (7, 77, 7), name, None)
    answer = browser.get(f"/api/v1/images/{id}/original")
    disposition = answer.headers["Content-Disposition"]
    assert disposition.startswith("attachment; ")
    assert disposition.rstrip('"').endswith(".jpg")
    assert answer.data == photo((7, 77, 7))
    assert not [each for each in disposition if unicodedata.category(each)[0] == "C"]

"""The images of the portal in docs/images, made anew: python -m docs.make_images

It starts a system of its own on drawn photos, lets things happen in it, walks through its pages in Chromium, and writes
what they look like. `--at HOME` walks through the system that runs there instead.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By

from deploy import demo_photos
from deploy.cli.find_files import Walk
from deploy.cli.upload_folder import index
from deploy.local.connection import connect, running
from deploy.local.stack import Stack
from tests.e2e.pages.chromium import drag, open_window, show_as, until
from tests.e2e.pages.lived_in import LivedIn, lived_in, register_another
from workers import settings as settings_of
from workers.client import Client

IMAGES = Path(__file__).parent / "images"
DESKTOP, PHONE = (1280, 860), (390, 780)
QUALITY = 82
READY = "document.getElementById('main').dataset.ready"
ANSWERED = f"{READY} && document.querySelectorAll('#results .card').length && !document.querySelector('[aria-busy]')"
IN_SIGHT = "i.checkVisibility() && i.getBoundingClientRect().top < innerHeight"
LOADED = f"[...document.images].every(i => !i.getAttribute('src') || !({IN_SIGHT}) || i.naturalWidth > 0)"


@dataclass(frozen=True)
class Portal:
    """A running system in which something has happened."""

    address: str
    client: Client
    things: LivedIn
    folder: Path  # of photos that are chosen; a browser reads them again


@click.command()
@click.option("--at", "home", type=click.Path(path_type=Path), help="The home of a system that runs.")
@click.option("--into", type=click.Path(path_type=Path), default=IMAGES, help="Where the images go.")
def main(home: Path | None, into: Path) -> None:
    """Makes the images of the portal in docs/images."""
    into.mkdir(exist_ok=True)
    with _portal(home) as portal:
        for dark in (False, True):
            desktop, phone = open_window(*DESKTOP, dark=dark), open_window(*PHONE, dark=dark, phone=True)
            suffix = "-dark" if dark else ""
            for each in (desktop, phone):
                show_as(each, dark=dark, still=True)
            try:
                for name, shown in _walk(portal, desktop):
                    if shown and (not dark or name == "search" or into != IMAGES):
                        _keep(desktop, into / f"{name}{suffix}.webp")
                for name, shown in _walk(portal, phone):
                    if shown and ((not dark and name in ("search", "gallery")) or into != IMAGES):
                        _keep(phone, into / f"{name}-phone{suffix}.webp")
            finally:
                desktop.quit()
                phone.quit()


def _walk(portal: Portal, browser: WebDriver) -> Iterator[tuple[str, bool]]:
    """Goes from page to page; yields the name of what is in sight."""
    client, things = portal.client, portal.things
    labelled = [image for image in client.images(limit=500)[0] if image.label]
    query = next((image for image in labelled if "mug" in str(image.label)), labelled[0])

    def go(address: str, condition: str = "document.readyState === 'complete'") -> None:
        browser.get(portal.address + address)
        until(browser, condition)

    go("/", READY)
    yield "start", False
    _choose(browser, portal.folder / "mug.jpg", client.original(query.id))
    yield "search", True
    go("/", READY)
    bands = np.linspace(0, 40, 300)
    stranger = io.BytesIO()
    Image.fromarray((127 + 120 * np.sin(bands[:, None] ** 1.5 + bands)).astype(np.uint8)).save(stranger, "PNG")
    _choose(browser, portal.folder / "curtain.png", stranger.getvalue())
    yield "nothing-matches", True
    go("/", READY)
    _choose(browser, portal.folder / "shelf.jpg", _two(client))
    browser.find_element(By.CSS_SELECTOR, "[data-crop]").click()
    until(browser, "document.querySelector('.crop-box').getBoundingClientRect().width > 0")
    drag(browser, (0.03, 0.05), (0.48, 0.95))
    until(browser, f"{ANSWERED} && document.querySelector('#results .badge:not([hidden])')")
    yield "crop", True
    go("/gallery", READY)
    yield "gallery", True
    go("/unlabelled", READY)
    yield "labels", True
    for name in ("duplicates", "jobs", "coverage", "models"):
        go(f"/{name}")
        yield name, True
    go(f"/jobs/{things.preview_job}/preview")
    yield "preview", True


def _two(client: Client) -> bytes:
    """A photo with two products beside each other."""
    both, buffer = Image.new("RGB", (1200, 600)), io.BytesIO()
    labels = iter({image.label: image for image in client.images(limit=500)[0] if image.label}.values())
    for at in (0, 600):
        with Image.open(io.BytesIO(client.original(next(labels).id))) as image:
            both.paste(image.convert("RGB").resize((600, 600)), (at, 0))
    both.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _choose(browser: WebDriver, path: Path, photo: bytes) -> None:
    """Searches with a photo of this device."""
    path.write_bytes(photo)
    browser.find_element(By.NAME, "image").send_keys(str(path))
    until(browser, f"{ANSWERED} && document.getElementById('query-name').textContent === '{path.name}'")


def _keep(browser: WebDriver, path: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    until(browser, LOADED)
    with Image.open(io.BytesIO(browser.get_screenshot_as_png())) as image:
        image.convert("RGB").save(path, quality=QUALITY, method=6)
    click.echo(f"{path.name}: {path.stat().st_size // 1000} kB")


@contextlib.contextmanager
def _portal(home: Path | None) -> Iterator[Portal]:
    with contextlib.ExitStack() as hold:
        folder = Path(hold.enter_context(tempfile.TemporaryDirectory()))
        settings = settings_of.load({"LOOKALIKE_HOME": str(home or folder / "home")})
        if home is None:
            parts = hold.enter_context(Stack(settings, portal=("127.0.0.1", 0)))
            settings, address = parts.settings, str(parts.address)
            client = Client(settings)
            demo_photos.make(folder / "products", products=12, views=8)
            index(client, Walk([folder / "products"]), progress=lambda _done, _total: None)
        else:
            described = running(settings)
            if described is None:
                raise click.ClickException(f"no system runs at {home}")
            address = str(described.portal)
            client = Client(hold.enter_context(connect(settings, say=click.echo)))
        photos = folder / "Phone"
        photos.mkdir()
        model = register_another(client, folder)
        yield Portal(address, client, hold.enter_context(lived_in(client, photos, model)), folder)


if __name__ == "__main__":
    main()

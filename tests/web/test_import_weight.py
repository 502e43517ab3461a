"""The portal's process stays small: it loads nothing that computes."""

import subprocess
import sys

HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "ray",
    "qdrant_client",
    "qdrant_edge",
    "openvino",
    "sklearn",
    "scipy",
    "pandas",
}


def loaded_by(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_web_loads_nothing_heavy():
    assert not HEAVY & loaded_by("import web")


def test_making_the_application_loads_nothing_heavy(tmp_path):
    settings = f"settings.load({{'LOOKALIKE_HOME': {str(tmp_path)!r}, 'LOOKALIKE_REDIS_URL': 'redis://127.0.0.1:1/0'}})"
    made = loaded_by(f"from workers import settings; import web; web.create_app({settings})")
    assert "celery" in made  # the client was really made
    assert not HEAVY & made

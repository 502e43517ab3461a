"""`lookalike answers`: what people said of two photos, the same or not the same; to another gallery and back as CSV."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.cli.connected import client_of
from deploy.cli.console import Console, command, table
from ml.errors import LookalikeError

if TYPE_CHECKING:
    from workers.answers import Answer

_COLUMNS = ("one", "other", "same")
_WORDS = dict.fromkeys(("true", "1", "yes", "same"), True) | dict.fromkeys(("false", "0", "no", "not same"), False)


class BadAnswers(LookalikeError):
    """A file holds no answers."""


@command("give", example="lookalike answers give 3f2b8c… 91d04e… --same")
@click.argument("one", metavar="ID")
@click.argument("other", metavar="ID")
@click.option("--same/--not-same", "is_same", default=None, help="Whether the two photos show the same thing.")
@click.option("--take-back", is_flag=True, help="Forget what was said of the two.")
def give(console: Console, one: str, other: str, is_same: bool | None, take_back: bool) -> None:
    """Say whether two photos show the same thing.

    The answer is kept by the content of both, through every change of models. The next training on the gallery uses it.
    """
    if take_back == (is_same is not None):
        raise click.UsageError("say one of --same, --not-same and --take-back")
    with client_of(console) as client:
        try:
            given = client.answers.give(one, other, is_same)
        except ValueError as error:
            raise click.UsageError(f"{error}: an id has 32 hexadecimal digits, as `search --json` shows it") from error
        since = client.answers_since_training()
    console.result({"one": given.one, "other": given.other, "same": given.is_same, "since_training": since})
    console.show("forgotten" if take_back else f"remembered; {since} answers since the last training")


@command("export", example="lookalike answers export answers.csv")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def export(console: Console, file: Path) -> None:
    """Write the answers to a CSV file: two ids, and whether they show the same."""
    with client_of(console) as client:
        answers = client.answers.all()
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(_COLUMNS)
        writer.writerows((each.one, each.other, str(bool(each.is_same)).lower()) for each in answers)
    console.result({"answers": len(answers), "file": str(file)})
    console.show(f"{len(answers)} answers written to {file}")


@command("import", example="lookalike answers import answers.csv")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_(console: Console, file: Path) -> None:
    """Take answers from a CSV file with the columns one, other and same.

    They are checked before the first is taken. What was said of a pair before is replaced.
    """
    rows = list(_read(file))
    with client_of(console) as client:
        for is_same in (True, False):
            client.answers.give_all([(one, other) for one, other, same in rows if same is is_same], is_same)
    console.result({"answers": len(rows)})
    console.show(f"{len(rows)} answers taken")


@command("answers", example="lookalike answers --of 3f2b8c…", actions=[give, export, import_])
@click.option("--of", "id", metavar="ID", help="Only those about this photo.")
def answers(console: Console, id: str | None) -> None:
    """List what was said of photos: the same, or not the same.

    The latest first. `answers give` adds one, `answers export` and `answers import` carry them to another gallery.
    """
    with client_of(console) as client:
        given = [each for each in reversed(client.answers.all()) if id in (None, each.one, each.other)]
        images = client.gallery.find_many({each for answer in given for each in answer.pair})
        since = client.answers_since_training()
    console.result({"answers": [_shown(each) for each in given], "since_training": since})
    if not given:
        console.show("nothing was said of any two photos yet")
        return

    def name(each: str) -> str:
        return images[each].name if each in images else "–"

    rows = [[a.one, name(a.one), "the same as" if a.is_same else "not", a.other, name(a.other)] for a in given]
    console.show(table(rows, ["id", "photo", "", "id", "photo"]))
    console.show(f"{since} since the last training")


def _shown(answer: "Answer") -> dict[str, object]:
    return {"one": answer.one, "other": answer.other, "same": answer.is_same, "at": answer.at}


def _read(file: Path) -> Iterator[tuple[str, str, bool]]:
    """The answers of a file. Raises BadAnswers, which names the line."""
    from workers.answers import is_pair

    try:
        with file.open(newline="", encoding="utf-8-sig") as source:
            reader = csv.DictReader(source)
            if not set(_COLUMNS) <= set(reader.fieldnames or ()):
                raise BadAnswers(
                    f"{file} has no columns one, other and same", hint="lookalike answers export writes them"
                )
            for row in reader:
                is_same = _WORDS.get(str(row["same"]).strip().casefold())
                one, other = str(row["one"]).strip(), str(row["other"]).strip()
                if is_same is None or not is_pair(one, other):
                    raise BadAnswers(
                        f"{file}, line {reader.line_num}: must be two ids, and true or false",
                        hint="an id has 32 hexadecimal digits",
                    )
                yield one, other, is_same
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadAnswers(f"{file} is no CSV file in UTF-8: {error}") from error

"""The program `lookalike`: which sub-commands there are, and how every one of them ends.

Each sub-command lives in a module of this folder that is imported when it is called: the program starts at once.
Exit status: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl-C, 143 by SIGTERM.
"""

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import fields

import click

from deploy.cli.console import Console
from deploy.cli.machine_errors import told
from deploy.local.home import PRIVATE_UMASK, stand_in_for_user_folder
from ml.errors import LookalikeError
from workers.settings import Settings

# name -> (module, one line for `lookalike --help`); the function in the module has the command's name.
COMMANDS = {
    "up": ("deploy.cli.system", "Run everything on this machine."),
    "demo": ("deploy.cli.demo", "Show the whole system at work on some photos."),
    "index": ("deploy.cli.index", "Add photos to the gallery and make them searchable."),
    "watch": ("deploy.cli.watch", "Keep the gallery in line with folders."),
    "search": ("deploy.cli.gallery", "Find the photos that look like IMAGE."),
    "photos": ("deploy.cli.photos", "List the gallery's photos, the newest first."),
    "label": ("deploy.cli.gallery", "Give photos the label L."),
    "labels": ("deploy.cli.labels", "List the labels in use, most frequent first."),
    "answers": ("deploy.cli.answers", "List what was said of photos: the same, or not the same."),
    "delete": ("deploy.cli.gallery", "Move photos to the trash."),
    "undo": ("deploy.cli.photos", "Take back a change: labels given or removed, photos deleted, queries removed."),
    "trash": ("deploy.cli.trash", "List deleted photos, the latest first."),
    "coverage": ("deploy.cli.coverage", "List indexed folders, with what was found in each."),
    "why": ("deploy.cli.coverage", "Say where a photo is, or why it is not in the gallery."),
    "duplicates": ("deploy.cli.duplicates", "List copies of one photo."),
    "train": ("deploy.cli.train", "Train a model on labelled photos, so that its neighbours are right."),
    "sweep": ("deploy.cli.sweep", "Try many settings of training, and keep the best model."),
    "evaluate": ("deploy.cli.evaluate", "Measure a model on labelled photos, each a query against all the others."),
    "embed": ("deploy.cli.embed", "Write the vectors of labelled photos to a file."),
    "export": ("deploy.cli.export", "Write a model as one ONNX file: image in, vector of unit length out."),
    "models": ("deploy.cli.models", "List the registered models, oldest first: figures, data, and which one answers."),
    "tune": ("deploy.cli.tune", "Fit the model that answers to your own photos, without labels."),
    "queries": ("deploy.cli.queries", "List the saved queries, the latest first."),
    "publish": ("deploy.cli.models", "Make a trained model the one that answers searches."),
    "rollback": ("deploy.cli.models", "Switch back to the model that answered before."),
    "jobs": ("deploy.cli.jobs", "List the jobs that run or have ended lately, stop one, or try one again."),
    "verify": ("deploy.cli.status", "Compare what is kept with what was added, and repair it."),
    "backup": ("deploy.cli.backup", "Copy everything to an archive: originals, labels, vectors, models."),
    "restore": ("deploy.cli.backup", "Bring an archive's photos, vectors and models here."),
    "migrate": ("deploy.cli.backup", "Copy everything to servers: Qdrant, object storage, or both."),
    "status": ("deploy.cli.status", "Say how the system is, in words."),
    "worker": ("deploy.cli.system", "Run one worker in the foreground."),
    "trainer": ("deploy.cli.system", "Run the training service in the foreground."),
    "web": ("deploy.cli.system", "Run the portal alone in the foreground."),
}


# What a command computes with is in an extra that one of its packages alone would not tell.
EXTRAS = {"train": "train", "sweep": "train", "evaluate": "train", "embed": "train"}


class Program(click.Group):
    """The group of all sub-commands, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        made: click.Command = getattr(module, cmd_name)
        return made

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """With a hint where a name is nearly one of ours."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if close := difflib.get_close_matches(args[0], COMMANDS, 1):
                error.hint = f"did you mean: lookalike {close[0]}"  # type: ignore[attr-defined]
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table above: asking each command for its first line would import them all."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])
        with formatter.section("Settings, in the environment or in lookalike.toml"):
            formatter.write_dl([(f.metadata["env"], f.metadata["help"]) for f in fields(Settings)])


def _print_version(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        from importlib import metadata

        click.echo(f"lookalike {metadata.version('lookalike')}")
        context.exit()


@click.command(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExample:\n  lookalike demo\n  lookalike index ~/Pictures && lookalike search photo.jpg",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def program() -> None:
    """Image search by example on your own photos.

    A command that needs the running system uses the one that `lookalike up` started, the one that
    LOOKALIKE_REDIS_URL names, or else starts the embedded services for its own duration.
    """


def run(arguments: Sequence[str], console: Console) -> int:
    """Runs one command line.

    Returns:
        The exit status. Whatever went wrong has been said on stderr.
    """
    try:
        status = program.main(list(arguments), prog_name="lookalike", standalone_mode=False, obj=console)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        console.error(error.format_message().rstrip("."), getattr(error, "hint", "") or _usage_hint(error.ctx))
        return 2
    except click.ClickException as error:  # a file that an option names cannot be opened, for example
        console.error(error.format_message().rstrip("."))
        return 1
    except (click.Abort, KeyboardInterrupt):
        console.error("interrupted")
        return 130
    except LookalikeError as error:
        console.error(error.message, error.hint)
        return getattr(error, "exit_status", 1)
    except ModuleNotFoundError as error:
        from deploy.local.extras import MissingExtra, extra_with

        name = next((argument for argument in arguments if not argument.startswith("-")), "")
        extra = extra_with((error.name or "").partition(".")[0])
        if extra is None:
            return _unexpected(console, error)
        console.error(MissingExtra(f"lookalike {name}", EXTRAS.get(name, extra)).message)
        return 1
    except BrokenPipeError:  # the reader of our output left: nothing to tell, and nobody to tell it to
        sys.stderr.close()
        return 1
    except (OSError, MemoryError) as error:
        console.error(*told(error))
        return 1
    except Exception as error:  # noqa: BLE001 - the last line of defence: a person gets one line, not a traceback
        return _unexpected(console, error)
    finally:
        console.settle()
    return status if isinstance(status, int) else 0


def _unexpected(console: Console, error: Exception) -> int:
    console.error(f"unexpected {type(error).__name__}: {error}", "run it again with --debug, and report what it shows")
    return 1


def _usage_hint(context: click.Context | None) -> str:
    return f"see {context.command_path if context else 'lookalike'} --help"


def main() -> None:
    """The console script."""
    os.umask(PRIVATE_UMASK)
    stand_in_for_user_folder()
    sys.exit(run(sys.argv[1:], Console(owns_process=True)))


if __name__ == "__main__":
    main()

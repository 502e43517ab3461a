"""Options of `index` and `watch`: where labels come from, and whether photos are copied."""

import click

label_from_option = click.option(
    "--label-from",
    type=click.Choice(["parent", "none"]),
    default="parent",
    show_default=True,
    help="Label each photo with the name of the folder it lies in, or not at all.",
)

in_place_option = click.option(
    "--in-place", is_flag=True, help="Make no copies: keep references to the photos, which must stay where they are."
)

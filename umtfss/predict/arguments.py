"""The arguments of the command that segments photos."""

from typing import Any

import typer
from typer.core import TyperCommand, TyperOption


class PhotosTogether(TyperCommand):
    """A command whose arguments stand together, before, between or after its options.

    A photo behind the value of an option is a mistake: a shell's `*.jpg` gives an option one file
    and makes arguments of the others.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse arguments in two places."""
        options = [one for one in self.params if isinstance(one, TyperOption)]
        flags = {
            name for one in options if one.is_flag for name in (*one.opts, *one.secondary_opts)
        }
        places, previous, value = 0, "option", False
        for arg in args:
            if value:
                value, previous = False, "option"
            elif arg.startswith("-") and arg != "-":
                value, previous = arg not in (*flags, "--help", "--") and "=" not in arg, "option"
            else:
                places += previous == "option"
                previous = "photo"
        if places > 1:
            raise typer.BadParameter(
                "photos to segment stand in two places. An option takes one file: repeat it, as in "
                "--support-image a.jpg --support-image b.jpg, or name a folder with --supports"
            )
        return super().parse_args(ctx, args)

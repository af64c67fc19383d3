"""`forge completion`."""

from __future__ import annotations

import click

from ..context import Context
from ._command import forge_command


@forge_command("completion", registry=False)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(context: Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash:  forge completion bash > ~/.local/share/bash-completion/completions/forge
    zsh:   forge completion zsh > "${fpath[1]}/_forge"
    fish:  forge completion fish > ~/.config/fish/completions/forge.fish
    """
    from click.shell_completion import get_completion_class

    from ..main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    completion = kind(cli, {}, "forge", "_FORGE_COMPLETE")
    # Not `source()`, which starts a bash to ask for its version.
    script = completion.source_template % completion.source_vars()
    context.out.result({"shell": shell, "script": script})
    context.out.answer(script.rstrip("\n"))

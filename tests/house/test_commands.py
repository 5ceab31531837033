"""Every command explains itself, and its example is one."""

from __future__ import annotations

import re
import shlex

import pytest
import typer.main

from fin_infra.cli import app
from fin_infra.docs import walk

COMMANDS = {" ".join(words): command for words, command in walk(typer.main.get_command(app))}
ALIAS = re.compile(r"The same as `(?P<command>[^`]+)`")


def example_of(text: str) -> str:
    """The example of a help text; of an alias the command it stands for. Empty when there is none."""
    if alias := ALIAS.search(text):
        return alias["command"]
    return text.partition("Example: ")[2].strip()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_a_purpose_and_an_example_that_can_be_pasted(name: str) -> None:
    text = str(COMMANDS[name].help or "")
    purpose = text.splitlines()[0] if text else ""
    assert re.match(r"[A-Z].*[.:`]$", purpose.strip()), f"no purpose in one sentence: {purpose!r}"
    example = example_of(text)
    assert "\n" not in example
    words = shlex.split(example.rpartition("| ")[2])
    assert words[:1] == ["fin-infra"], f"no example: {text!r}"
    called, arguments = command_in(words)
    if not ALIAS.search(text):
        assert called == name, "the example is of another command"
    command = COMMANDS[called]
    with command.make_context(called, arguments) as context:  # parses, as on the command line; runs nothing
        assert context.params is not None


def command_in(words: list[str]) -> tuple[str, list[str]]:
    """The longest command the words begin with, and the rest. Raises when there is none of that name."""
    for count in range(len(words), 0, -1):
        if (name := " ".join(words[:count])) in COMMANDS:
            return name, words[count:]
    raise LookupError(f"no command {' '.join(words)!r}")


def test_an_example_of_a_command_that_is_not_there_is_noticed() -> None:
    with pytest.raises(LookupError):
        command_in(["fin-infra", "forecast", "prices"])


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_words_and_have_no_secret_value(name: str) -> None:
    for param in COMMANDS[name].params:
        for option in (*param.opts, *param.secondary_opts):
            assert re.fullmatch(r"--[a-z][a-z-]*|-h|[a-z][a-z_]*", option), f"{name} {option}"
        assert not {"--token", "--password", "--key"} & set(param.opts), "a secret is never an argument"

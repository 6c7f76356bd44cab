"""The `spiderwebd` command: argv to one of a few things, each short.

Exit codes: 0 done, 1 failed, 2 usage, 75 try again later, 78 configuration (sysexits.h).
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from spiderwebd import __version__
from spiderwebd.config import ConfigError, Loaded, assignment, describe, load
from spiderwebd.log_events import EventName

EXIT_FAILED = 1
EXIT_TEMPORARY = 75
EXIT_CONFIGURATION = 78

SWITCH_SECONDS = 0.001
"""After so long the interpreter lock changes hands. The loop gives it up at every read, write and wait; with
Python's 5 ms a ping beside a thread that searches takes 20 ms on its way through the loop, with 1 ms 16."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        result: int = arguments.command(arguments)
    except ConfigError as error:
        print(f"spiderwebd: the configuration is refused:\n{error}", file=sys.stderr)
        return EXIT_CONFIGURATION
    except BrokenPipeError:
        return EXIT_FAILED  # the reader of our output has gone
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spiderwebd", description="An agent runtime as a system service.", allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: object, text: str, *, configured: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(command=command)
        if configured:
            _configuration_options(sub)
        return sub

    run = add("run", _run, "Serve in the foreground until SIGTERM or SIGINT.")
    run.add_argument("--ready-json", action="store_true", help="print one JSON line on stdout when serving")
    add("check-config", _check_config, "Check the configuration; exit 78 when it is refused.")
    add("config", _config, "Print the merged configuration with the origin of each value.")
    add("schema", _schema, "Print the JSON Schema of the websocket protocol.", configured=False)
    token = add("token", _token, "Add, list or revoke tokens.")
    token.add_argument("action", choices=("add", "list", "revoke"))
    token.add_argument("name", nargs="?", help="for add and revoke")
    token.add_argument("--role", choices=("user", "operator"), default="user", help="for add (default: user)")
    identity = add("identity", _identity, "Print an agent's merged prompt and where each section is from.")
    identity.add_argument("agent", nargs="?", default="default")
    backup = add("backup", _backup, "Copy the database, also while the daemon runs.")
    backup.add_argument("target", type=Path, help="file to write; must not exist")
    legacy = add("import-legacy", _import_legacy, "Import a folder of the predecessor's archives.")
    legacy.add_argument("directory", type=Path)
    legacy.add_argument("--principal", default="local", help="whose sessions they become (default: local)")
    add("version", _version, "Print the version.", configured=False)
    return parser


def _configuration_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="instead of /etc/spiderwebd/spiderwebd.toml"
    )
    parser.add_argument("--listen", metavar="ADDR:PORT", help="TCP address; port 0 picks a free one")
    parser.add_argument("--state-dir", metavar="DIR", help="folder of the database, tokens and files")
    parser.add_argument(
        "--set",
        dest="settings",
        type=_setting,
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="one setting; may be given again",
    )


def _setting(text: str) -> tuple[str, str]:
    try:
        return assignment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _load(arguments: argparse.Namespace) -> Loaded:
    options: dict[str, object] = {}
    if arguments.listen is not None:
        options["listen.address"] = arguments.listen
    if arguments.state_dir is not None:
        options["state.directory"] = str(Path(arguments.state_dir).absolute())
    return load(arguments.config, dict(arguments.settings), os.environ, options)


def _run(arguments: argparse.Namespace) -> int:
    # Imported here: the other commands start in a fraction of the time without the runtime.
    import trio

    from spiderwebd import log
    from spiderwebd.core.codes import SpiderwebError
    from spiderwebd.daemon import Daemon
    from spiderwebd.store.schema import SchemaTooNewError, StoreInUseError
    from spiderwebd.systemd import notify
    from spiderwebd.tokens import TokenError
    from spiderwebd.wire.certificate import CertificateError
    from spiderwebd.wire.listen import ExposedError

    faulthandler.enable()  # the watchdog's SIGABRT leaves a traceback in the journal
    try:
        loaded = _load(arguments)
    except ConfigError as refused:
        log.setup("info", "auto")
        for problem in refused.problems:
            log.event("configuration_invalid", problem=str(problem))
        notify(STATUS=f"the configuration is refused: {refused.problems[0]}")
        log.shutdown()
        return EXIT_CONFIGURATION
    log.setup(loaded.settings.log.level, loaded.settings.log.format)
    daemon = Daemon(loaded, reload=partial(_load, arguments), ready_json=arguments.ready_json)
    _settle_collector()
    sys.setswitchinterval(SWITCH_SECONDS)
    status = 0
    try:
        trio.run(daemon.main)
    except* (SpiderwebError, TokenError, OSError) as group:
        for error in _leaves(group):
            match error:
                case StoreInUseError():
                    status = EXIT_TEMPORARY  # the other process may end
                case CertificateError() | ExposedError() | SchemaTooNewError():
                    status = EXIT_CONFIGURATION  # another start would not help
                case _:
                    status = EXIT_FAILED
            log.event("failed", reason=str(error), status=status)
            notify(STATUS=f"cannot go on: {error}")
    except* Exception as group:
        # By the log, whose exceptions show no secrets, and which the journal keeps in one piece.
        log.get_logger("spiderwebd").critical("spiderwebd ends by a fault of its own", exc_info=group)
        status = EXIT_FAILED
    finally:
        log.shutdown()
    return status


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


def _settle_collector() -> None:
    """Take what start-up made out of the collector's sight and let it run more rarely.

    A third of the CPU at 1,000 links goes into collections otherwise (reference/performance.md, 2).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


def _check_config(arguments: argparse.Namespace) -> int:
    loaded = _load(arguments)
    files = ", ".join(str(path) for path in loaded.files) or "no file; defaults"
    print(f"configuration is good ({files})")
    return 0


def _config(arguments: argparse.Namespace) -> int:
    print(describe(_load(arguments)), end="")
    return 0


def _schema(arguments: argparse.Namespace) -> int:
    from spiderwebd.core.schema import wire_schema

    print(json.dumps(wire_schema(), indent=2, sort_keys=True))
    return 0


def _token(arguments: argparse.Namespace) -> int:
    from spiderwebd.tokens import Role, TokenError, TokenFile

    loaded = _load(arguments)
    directory = loaded.settings.state.directory
    tokens = TokenFile(directory)
    if (arguments.action != "list") and not arguments.name:
        print(f"spiderwebd: token {arguments.action} needs a NAME", file=sys.stderr)
        return 2
    try:
        match arguments.action:
            case "add":
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                clear = tokens.add(arguments.name, Role(arguments.role))
                _audit("token_added", name=arguments.name, role=arguments.role)
                print(clear)
            case "revoke":
                tokens.revoke(arguments.name)
                _audit("token_revoked", name=arguments.name)
                print(f"revoked {arguments.name}")
            case _:
                for token in tokens.list():
                    print(f"{token.name}\t{token.role}\t{token.created_ms}")
    except (TokenError, OSError) as error:
        print(f"spiderwebd: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _audit(event: EventName, **fields: object) -> None:
    """Put down in the journal what was done at a terminal; journald adds by whom (_UID, _AUDIT_LOGINUID)."""
    from spiderwebd import log

    if log.JOURNAL_SOCKET.exists():
        log.setup("info", "journal")
        log.event(event, **fields)
        log.shutdown()


def _identity(arguments: argparse.Namespace) -> int:
    from spiderwebd.core.codes import Refused
    from spiderwebd.session.agents import AgentFolder

    folder = AgentFolder(_load(arguments).settings.agents.directory)
    try:
        identity = folder.identity(arguments.agent)
    except Refused as refused:
        print(f"spiderwebd: {refused.message}", file=sys.stderr)
        return EXIT_FAILED
    print(identity.prompt)
    for section in identity.sections:
        print(
            f"# {section.heading or '(before the first heading)'}: {section.layer} {section.origin}",
            file=sys.stderr,
        )
    for message in [*(c.message for c in identity.conflicts), *(p.message for p in identity.problems)]:
        print(f"# {message}", file=sys.stderr)
    return 0


def _backup(arguments: argparse.Namespace) -> int:
    from spiderwebd.store.backup import BackupError, backup
    from spiderwebd.store.store import DATABASE

    source = _load(arguments).settings.state.directory / DATABASE
    try:
        pages = backup(source, arguments.target)
    except (BackupError, OSError) as error:
        print(f"spiderwebd: {error}", file=sys.stderr)
        return EXIT_FAILED
    print(f"{arguments.target}: {pages} pages, checked")
    return 0


def _import_legacy(arguments: argparse.Namespace) -> int:
    from spiderwebd.store.legacy import import_directory
    from spiderwebd.store.store import DATABASE

    directory = _load(arguments).settings.state.directory
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    report = import_directory(directory / DATABASE, arguments.directory, arguments.principal)
    print(report.text())
    return 0 if not report.problems else EXIT_FAILED


def _version(arguments: argparse.Namespace) -> int:
    print(f"spiderwebd {__version__}")
    return 0

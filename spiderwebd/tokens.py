"""Named tokens: who may connect, as what. The file holds digests; a token is shown once.

Reading costs one stat a call and a read after a change, so a token revoked from the command line is
refused by the running daemon at its next use. The files are small; nothing here waits on the network.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spiderwebd.clock import Clock, SystemClock

DEFAULT_NAME = "local"
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
MAX_TOKENS = 1024
"""Every check compares with every digest, at well under a microsecond each."""
LOCK_SECONDS = 5.0
"""A writer holds the lock for one small file; waiting longer means that something is wrong."""


class Role(StrEnum):
    """What a principal may do: a user its own sessions, an operator the daemon too."""

    USER = "user"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a token, or a peer on the unix socket, stands for."""

    name: str
    role: Role


class TokenError(Exception):
    """A token cannot be added or revoked, or the file of tokens cannot be used; the text says why."""


class Token(BaseModel):
    """One row of the file. The token itself is not in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
    role: Role
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Hexadecimal SHA-256 of the token. Tokens have 256 random bits, so no slow hash is needed."""
    created_ms: Annotated[int, Field(ge=0)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = 1
    default_made: bool = False
    """Whether the first start has been: a default token that was revoked stays revoked."""
    tokens: tuple[Token, ...] = Field(default=(), max_length=MAX_TOKENS)


class TokenFile:
    """DIR/tokens.json, and DIR/token with the default token in clear; both 0600."""

    def __init__(self, directory: Path, clock: Clock | None = None) -> None:
        self.path = directory / "tokens.json"
        self.default_path = directory / "token"
        self._path_text = str(self.path)
        self._directory = directory
        self._clock = clock or SystemClock()
        self._stamp: tuple[int, ...] | None = None
        self._document = _Document()
        self._digests: tuple[tuple[bytes, Principal], ...] = ()

    def ensure_default(self) -> bool:
        """At the first start, make the token `local`, role operator; return whether it was made.

        Raises TokenError when the file is corrupt or the folder cannot be written.
        """
        with self._locked():
            document = self._read()
            if document.default_made:
                return False
            tokens = tuple(token for token in document.tokens if token.name != DEFAULT_NAME)
            clear = _new_token()
            # The clear text first: after a crash between the two it is written again.
            self._replace(self.default_path, clear + "\n")
            self._write((*tokens, self._row(DEFAULT_NAME, Role.OPERATOR, clear)))
            return True

    def add(self, name: str, role: Role) -> str:
        """Add a token and return it in clear, for the only time.

        Raises TokenError for a bad or taken name, a full or corrupt file, or a folder that cannot be
        written.
        """
        if not NAME.fullmatch(name):
            raise TokenError(f"{name!r} is no token name: 1 to 64 of A-Z a-z 0-9 _ . and -")
        with self._locked():
            document = self._read()
            if any(token.name == name for token in document.tokens):
                raise TokenError(f"there is a token named {name!r}; revoke it first or take another name")
            if name == DEFAULT_NAME and not document.default_made:
                raise TokenError(f"the first start makes the token {name!r}; take another name")
            if len(document.tokens) >= MAX_TOKENS:
                raise TokenError(f"{self.path} holds {MAX_TOKENS} tokens; revoke one first")
            clear = _new_token()
            self._write((*document.tokens, self._row(name, role, clear)), document.default_made)
            return clear

    def revoke(self, name: str) -> None:
        """Remove a token; the default token's clear text goes with it. Raises TokenError if unknown."""
        with self._locked():
            document = self._read()
            left = tuple(token for token in document.tokens if token.name != name)
            if len(left) == len(document.tokens):
                names = ", ".join(token.name for token in document.tokens) or "none"
                raise TokenError(f"there is no token named {name!r}; there are: {names}")
            self._write(left, document.default_made)
            if name == DEFAULT_NAME:
                self.default_path.unlink(missing_ok=True)

    def list(self) -> tuple[Token, ...]:
        """Return every token's row, oldest first. Raises TokenError when the file is corrupt."""
        return self._read().tokens

    def verify(self, token: str) -> Principal | None:
        """Return who the token stands for, or None.

        The time taken does not depend on how much of a token was guessed: digests are compared, by
        hmac.compare_digest, each time with all of them. Raises TokenError when the file is corrupt
        or unreadable: then nobody gets in.
        """
        self._read()
        digest = _digest(token)
        found = None
        for known, principal in self._digests:
            if hmac.compare_digest(known, digest):
                found = principal
        return found

    def _read(self) -> _Document:
        """Return the file's content, read again only if the file is another one than last time."""
        try:
            stamp = _stamp(os.stat(self._path_text))  # at every attach; Path.stat costs three times as much
            if stamp == self._stamp:
                return self._document
            with self.path.open("rb") as file:
                stamp = _stamp(os.fstat(file.fileno()))
                document = _Document.model_validate_json(file.read())
        except FileNotFoundError:
            stamp, document = None, _Document()
        except OSError as error:
            raise TokenError(f"{self.path} cannot be read: {error.strerror or error}") from error
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "its root"
            raise TokenError(
                f"{self.path} is corrupt at {where}: {first['msg']}; nobody can connect until it is "
                "repaired, or removed to start anew with one default token"
            ) from None  # the original quotes the file
        names = [token.name for token in document.tokens]
        if len(set(names)) < len(names):
            raise TokenError(f"{self.path} is corrupt: two tokens have the same name")
        self._digests = tuple(
            (bytes.fromhex(token.sha256), Principal(token.name, token.role)) for token in document.tokens
        )
        self._document, self._stamp = document, stamp
        return document

    def _row(self, name: str, role: Role, clear: str) -> Token:
        return Token(name=name, role=role, sha256=_digest(clear).hex(), created_ms=self._clock.wall_ms())

    def _write(self, tokens: tuple[Token, ...], default_made: bool = True) -> None:
        document = _Document(default_made=default_made, tokens=tokens)
        self._replace(self.path, document.model_dump_json(indent=2) + "\n")

    def _replace(self, path: Path, text: str) -> None:
        """Put a file in place whole, 0600, on disk before it is seen, owned as its folder is."""
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=self._directory)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                self._give_away(descriptor)
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _give_away(self, descriptor: int) -> None:
        # `sudo spiderwebd token add` must leave files that the daemon's own user can read.
        if os.geteuid() == 0:
            owner = self._directory.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other writers out. Raises TokenError after LOCK_SECONDS, or when a write fails."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(
                self._directory / "tokens.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
            try:
                self._give_away(descriptor)
                _lock(descriptor, self.path)
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            raise TokenError(f"{self._directory} cannot be written: {error.strerror or error}") from error


def _lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    pause = threading.Event()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TokenError(f"another process is changing {path}; try again") from None
            pause.wait(0.01)
        else:
            return


def _new_token() -> str:
    return "sw_" + secrets.token_urlsafe(32)


def _digest(token: str) -> bytes:
    # A header may hold anything; what cannot be encoded is no token, but must not raise either.
    return hashlib.sha256(token.encode("utf-8", "backslashreplace")).digest()


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size

"""The folder of agents: which agents there are, and each one's identity read from its files.

    ROOT/ID/SOUL.md ...   an agent's own files
    ROOT/ID/agent.json    optional: name, description, is_default
    ROOT/SOUL.md ...      shared: used where an agent has no file of its own

Every call reads the files anew and may block, so call it in a worker thread; `fingerprint` says
cheaply whether an identity has to be read again. Nothing outside the root is ever read.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from spiderwebd.core.codes import Code, Refused
from spiderwebd.core.identity import LAYER_FILES, Identity, Layer, Problem, merge, valid_agent_id

IDENTITY_FILE_BYTES = 1024 * 1024
"""Largest identity file (compatibility reference, section 4)."""

REGISTRY_FILE = "agent.json"
REGISTRY_FILE_BYTES = 64 * 1024
"""Largest agent.json (compatibility reference, section 1.6)."""

NAME_LINES = 20
"""How many lines of a file are searched for the agent's name (section 1.6)."""

DEFAULT_AGENT_ID = "default"

Fingerprint = tuple[tuple[int, ...], ...]
"""One entry a candidate file: inode, size, modification and change time in ns; empty if missing."""


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """What clients are told of an agent, and what its operator should be told."""

    id: str
    name: str
    description: str
    is_default: bool
    """True for exactly one agent of a folder."""
    identity_loaded: bool
    """Whether a SOUL, AGENT or IDENTITY file is found for it, its own or shared."""
    needs_hatching: bool = False
    """Whether a HATCH.md still lies in its folder."""
    problems: tuple[Problem, ...] = ()
    """For the log, not for clients."""


class RegistryFile(BaseModel):
    """The fields of agent.json that are used; others are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    name: str = ""
    description: str = ""
    is_default: bool = False


class _UnusableFileError(Exception):
    """A file exists and cannot be used; says why, without its path. Becomes a Problem, never leaves."""


@dataclass(frozen=True, slots=True)
class AgentFolder:
    """Reads one folder of agents. Holds no state, so any thread may use it."""

    root: Path

    def identity(self, agent_id: str) -> Identity:
        """Read and merge an agent's identity; an agent without files of its own gets the shared ones.

        A file that is too large, not UTF-8, not a regular file, unreadable or outside the root is
        left out, alone, and stands in `problems`. Raises Refused (agent_invalid).
        """
        layers = []
        problems = []
        for own, shared in self._candidates(agent_id):
            for path in (own, shared):
                try:
                    text = self._read(path, IDENTITY_FILE_BYTES)
                except _UnusableFileError as error:
                    # It exists, so it decides its layer: the shared file is not its understudy.
                    problems.append(Problem(path.name, str(path), str(error)))
                    break
                if text is not None:
                    layers.append(Layer(path.name, str(path), text))
                    break
        return merge(layers, problems)

    def fingerprint(self, agent_id: str) -> Fingerprint:
        """Return a value that changes when a file of the agent's identity changes, by stat alone.

        Raises Refused (agent_invalid).
        """
        return tuple(_stamp(path) for pair in self._candidates(agent_id) for path in pair)

    def list(self) -> tuple[AgentInfo, ...]:
        """Return every agent of the folder, sorted by id; exactly one is the default.

        The default is the first that its agent.json marks, else the agent `default`, else the
        first. A folder without agents has one: `default`, named Assistant. Directories whose name
        is no agent id are not agents.
        """
        problems: tuple[Problem, ...] = ()
        try:
            names = sorted(entry.name for entry in os.scandir(self.root))
        except FileNotFoundError:
            names = []
        except OSError as error:
            names = []
            problems = (Problem(self.root.name, str(self.root), _system_reason(error)),)
        agents = [self._describe(name) for name in names if valid_agent_id(name) and self._is_folder(name)]
        if not agents:
            return (
                AgentInfo(
                    id=DEFAULT_AGENT_ID,
                    name="Assistant",
                    description="General purpose AI assistant",
                    is_default=True,
                    identity_loaded=self._has_identity(DEFAULT_AGENT_ID),
                    problems=problems,
                ),
            )
        marked = [agent.id for agent in agents if agent.is_default]
        named = [agent.id for agent in agents if agent.id == DEFAULT_AGENT_ID]
        default = (marked or named or [agents[0].id])[0]
        return tuple(replace(agent, is_default=agent.id == default) for agent in agents)

    def get(self, agent_id: str) -> AgentInfo:
        """Return one agent. Raises Refused: agent_invalid, or agent_unknown when there is none."""
        _require_valid(agent_id)
        for agent in self.list():
            if agent.id == agent_id:
                return agent
        raise Refused(
            f'There is no agent "{agent_id}"; ask agent.list for the agents there are.', Code.AGENT_UNKNOWN
        )

    def _candidates(self, agent_id: str) -> tuple[tuple[Path, Path], ...]:
        """Return (own, shared) paths of each layer, highest precedence first."""
        _require_valid(agent_id)
        return tuple((self.root / agent_id / name, self.root / name) for name in LAYER_FILES)

    def _describe(self, agent_id: str) -> AgentInfo:
        path = self.root / agent_id / REGISTRY_FILE
        registry = RegistryFile()
        problems: tuple[Problem, ...] = ()
        try:
            text = self._read(path, REGISTRY_FILE_BYTES)
            if text is not None:
                registry = RegistryFile.model_validate_json(text)
        except _UnusableFileError as error:
            problems = (Problem(path.name, str(path), str(error)),)
        except ValidationError as error:
            problems = (Problem(path.name, str(path), _validation_reason(error)),)
        return AgentInfo(
            id=agent_id,
            name=registry.name.strip() or self._inferred_name(agent_id),
            description=registry.description,
            is_default=registry.is_default,
            identity_loaded=self._has_identity(agent_id),
            needs_hatching=self._is_file(self.root / agent_id / "HATCH.md"),
            problems=problems,
        )

    def _inferred_name(self, agent_id: str) -> str:
        """Return the first name that IDENTITY.md, then SOUL.md gives; the id when neither does."""
        for file_name in ("IDENTITY.md", "SOUL.md"):
            try:
                text = self._read(self.root / agent_id / file_name, IDENTITY_FILE_BYTES)
            except _UnusableFileError:
                continue  # identity() reports it
            for line in (text or "").split("\n")[:NAME_LINES]:
                if name := _name_in(line.strip()):
                    return name
        return agent_id

    def _has_identity(self, agent_id: str) -> bool:
        return any(
            self._is_file(path)
            for own, shared in self._candidates(agent_id)
            if own.name != "USER.md"
            for path in (own, shared)
        )

    def _is_folder(self, name: str) -> bool:
        real = self._inside(self.root / name)
        return real is not None and real.is_dir()

    def _is_file(self, path: Path) -> bool:
        real = self._inside(path)
        return real is not None and real.is_file()

    def _inside(self, path: Path) -> Path | None:
        """Return the real path, or None when it is missing, broken or outside the root."""
        try:
            return self._locate(path)
        except _UnusableFileError:
            return None

    def _locate(self, path: Path) -> Path | None:
        """Return the real path, None when there is none. Raises _UnusableFileError if it leaves the root."""
        try:
            real = path.resolve(strict=True)
            root = self.root.resolve(strict=True)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _UnusableFileError(_system_reason(error)) from error
        except RuntimeError as error:  # how Python 3.11 and 3.12 report a loop of links
            raise _UnusableFileError("its symbolic links form a loop") from error
        if not real.is_relative_to(root):
            raise _UnusableFileError("it is a symbolic link that leaves the folder of agents")
        return real

    def _read(self, path: Path, limit: int) -> str | None:
        """Return a file's text, at most `limit` bytes of UTF-8; None when there is no such file."""
        real = self._locate(path)
        if real is None:
            return None
        try:
            with open(real, "rb", opener=_open_without_waiting) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise _UnusableFileError("it is not a regular file")
                data = file.read(limit + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _UnusableFileError(_system_reason(error)) from error
        if len(data) > limit:
            raise _UnusableFileError(f"it is larger than {limit} bytes")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise _UnusableFileError(f"it is not UTF-8 at byte {error.start}") from error


def _open_without_waiting(path: str, flags: int) -> int:
    # Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _require_valid(agent_id: str) -> None:
    if not valid_agent_id(agent_id):
        raise Refused("An agent id is 1 to 64 of A-Z a-z 0-9 _ and -; use such an id.", Code.AGENT_INVALID)


def _name_in(line: str) -> str:
    """Return the name that a line gives as `Name: X` or `# X`, else an empty text."""
    if line.lower().startswith("name:"):
        return line[len("name:") :].strip()
    if line.startswith("# "):
        heading = line[2:].strip()
        return "" if heading.lower() in ("soul", "identity", "soul.md", "identity.md") else heading
    return ""


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        info = path.stat()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        return () if missing else (error.errno or 0,)
    return (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def _system_reason(error: OSError) -> str:
    return f"the system says {error.strerror or error}"


def _validation_reason(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{field}: {first['msg']}" if field else first["msg"]

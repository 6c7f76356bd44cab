"""The folder of agents: lookup, limits and registry rules, on real files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from spiderwebd.core.codes import Code, Refused
from spiderwebd.core.identity import FALLBACK_PROMPT
from spiderwebd.session.agents import IDENTITY_FILE_BYTES, AgentFolder, AgentInfo

SHIPPED = Path(__file__).parents[2] / "etc" / "agents"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty folder of agents, beside room for files outside it."""
    folder = tmp_path / "agents"
    folder.mkdir()
    return folder


def put(path: Path, text: str | bytes) -> Path:
    """Write a file, with the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def put_vector(root: Path) -> None:
    """Write the files of section 4's vector."""
    put(root / "kim" / "SOUL.md", "# Tone\nCalm.\n")
    put(root / "AGENT.md", "Hello.\n# tone\nLoud.\n## Rules\nBe brief.\n")
    put(root / "kim" / "IDENTITY.md", "Preamble two.\n#\n# Rules\nBe long.\n# Name\n")
    put(root / "USER.md", "# Prefs\nUTC\n")


async def test_vector_of_section_4_from_files_in_a_worker_thread(root: Path) -> None:
    """Own files come before shared ones, by section 4's vector, also when read in a worker thread."""
    put_vector(root)
    folder = AgentFolder(root)
    kim = await trio.to_thread.run_sync(folder.identity, "kim")
    assert kim.prompt == "# Tone\nCalm.\n\n\n\nHello.\n\n\n## Rules\nBe brief.\n\n\n\n# Prefs\nUTC\n\n"
    assert [Path(section.origin) for section in kim.sections] == [
        root / "kim" / "SOUL.md",
        root / "AGENT.md",
        root / "AGENT.md",
        root / "USER.md",
    ]
    zed = await trio.to_thread.run_sync(folder.identity, "zed")
    assert zed.prompt == "Hello.\n\n\n# tone\nLoud.\n\n\n## Rules\nBe brief.\n\n\n\n# Prefs\nUTC\n\n"
    assert kim.problems == zed.problems == ()


def test_no_files_give_the_fallback(root: Path) -> None:
    """Missing files are nothing to complain of, and neither is a missing folder (section 4)."""
    for folder in (AgentFolder(root), AgentFolder(root / "missing")):
        identity = folder.identity("kim")
        assert identity.prompt == FALLBACK_PROMPT
        assert identity.problems == ()


def test_an_unusable_file_drops_only_itself(root: Path) -> None:
    """Too large, not UTF-8, a directory: each is left out and named, the other layers stay (defect 26)."""
    put(root / "kim" / "SOUL.md", b"x" * (IDENTITY_FILE_BYTES + 1))
    put(root / "SOUL.md", "# Shared\nnot an understudy\n")
    put(root / "kim" / "AGENT.md", b"good \xff bad")
    (root / "kim" / "IDENTITY.md").mkdir()
    put(root / "kim" / "USER.md", "# Prefs\nUTC")
    identity = AgentFolder(root).identity("kim")
    assert identity.prompt == "# Prefs\nUTC\n"
    assert [(problem.name, problem.origin) for problem in identity.problems] == [
        (name, str(root / "kim" / name)) for name in ("SOUL.md", "AGENT.md", "IDENTITY.md")
    ]
    reasons = [problem.reason for problem in identity.problems]
    assert reasons[:2] == ["it is larger than 1048576 bytes", "it is not UTF-8 at byte 5"]


def test_a_file_of_exactly_one_mebibyte_is_read(root: Path) -> None:
    """The limit of section 4 is the largest size that is still read."""
    put(root / "SOUL.md", b"x" * IDENTITY_FILE_BYTES)
    assert len(AgentFolder(root).identity("kim").prompt) == IDENTITY_FILE_BYTES + 1


def test_a_byte_order_mark_does_not_hide_a_heading(root: Path) -> None:
    """A file saved with a byte order mark is read as if it had none."""
    put(root / "SOUL.md", b"\xef\xbb\xbf# Tone\nCalm.")
    assert AgentFolder(root).identity("kim").prompt == "# Tone\nCalm.\n"


def test_a_fifo_is_reported_and_not_waited_for(root: Path) -> None:
    """A named pipe in the place of a file is left out at once, though nobody writes to it."""
    os.mkfifo(root / "SOUL.md")
    (problem,) = AgentFolder(root).identity("kim").problems
    assert problem.reason == "it is not a regular file"


def test_links_inside_the_folder_are_followed_and_others_are_not(root: Path) -> None:
    """A symbolic link may share a file between agents but never reach outside the folder (defect 8)."""
    secret = put(root.parent / "secret", "# Secret\ns3cret\n")
    put(root / "kim" / "SOUL.md", "# Tone\nCalm.")
    (root / "zed").mkdir()
    (root / "zed" / "SOUL.md").symlink_to("../kim/SOUL.md")
    (root / "zed" / "AGENT.md").symlink_to(secret)
    (root / "zed" / "USER.md").symlink_to("USER.md")
    identity = AgentFolder(root).identity("zed")
    assert identity.prompt == "# Tone\nCalm.\n"
    assert [problem.name for problem in identity.problems] == ["AGENT.md", "USER.md"]
    assert identity.problems[0].reason == "it is a symbolic link that leaves the folder of agents"


def test_an_agent_that_is_a_link_to_outside_does_not_exist(root: Path) -> None:
    """A directory outside the folder does not become an agent by a link, and its files are not read."""
    outside = root.parent / "outside"
    put(outside / "SOUL.md", "# Secret\ns3cret\n")
    (root / "eve").symlink_to(outside)
    (root / "kim").mkdir()
    folder = AgentFolder(root)
    assert [agent.id for agent in folder.list()] == ["kim"]
    assert folder.identity("eve").prompt == FALLBACK_PROMPT


def test_the_folder_itself_may_be_a_link(root: Path) -> None:
    """An operator may put the whole folder elsewhere by a symbolic link."""
    put_vector(root)
    link = root.parent / "link"
    link.symlink_to(root)
    assert AgentFolder(link).identity("kim").prompt == AgentFolder(root).identity("kim").prompt
    assert [agent.id for agent in AgentFolder(link).list()] == ["kim"]


def test_unusable_files_leave_no_descriptor_open(root: Path) -> None:
    """Reading files of every kind, good and bad, opens nothing that it does not close."""
    put(root / "SOUL.md", b"\xff")
    (root / "AGENT.md").mkdir()
    os.mkfifo(root / "IDENTITY.md")
    put(root / "USER.md", "fine")
    folder = AgentFolder(root)
    before = os.listdir("/proc/self/fd")
    assert len(folder.identity("kim").problems) == 3
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("agent_id", ["", "..", "../kim", "a/b", "kim\n", "x" * 65])
def test_invalid_ids_are_refused_before_any_file_is_touched(root: Path, agent_id: str) -> None:
    """Every call that takes an id refuses one that could be a path (defect 8)."""
    folder = AgentFolder(root)
    for call in (folder.identity, folder.fingerprint, folder.get):
        with pytest.raises(Refused) as refused:
            call(agent_id)
        assert refused.value.code is Code.AGENT_INVALID


def test_fingerprint_sees_every_change_of_the_files(root: Path) -> None:
    """Creating, changing, replacing, hiding and removing a file each change the fingerprint (defect 26)."""
    folder = AgentFolder(root)
    seen = [folder.fingerprint("kim")]
    assert folder.fingerprint("kim") == seen[0]

    def changed() -> bool:
        seen.append(folder.fingerprint("kim"))
        return seen[-1] not in seen[:-1]

    shared = put(root / "USER.md", "a")
    assert changed()
    own = put(root / "kim" / "USER.md", "b")
    assert changed()
    put(own, "longer")
    assert changed()
    times = own.stat()
    other = put(root.parent / "new", "joined")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(own)
    assert changed(), "same size and time, another file"
    shared.unlink()
    assert changed()
    put(root / "zed" / "SOUL.md", "of another agent")
    assert not changed()


def test_a_changed_file_is_in_the_next_identity(root: Path) -> None:
    """The same folder object reads what the file says now."""
    put(root / "SOUL.md", "one")
    folder = AgentFolder(root)
    assert folder.identity("kim").prompt == "one\n"
    put(root / "SOUL.md", "two")
    assert folder.identity("kim").prompt == "two\n"


def test_a_folder_without_agents_has_the_synthetic_one(root: Path) -> None:
    """No directory gives `default`, Assistant, as in section 1.6; shared files count as its identity."""
    synthetic = AgentInfo(
        id="default",
        name="Assistant",
        description="General purpose AI assistant",
        is_default=True,
        identity_loaded=False,
    )
    put(root / "not a valid id" / "SOUL.md", "x")
    put(root / "file", "x")
    assert AgentFolder(root).list() == (synthetic,)
    assert AgentFolder(root / "missing").get("default") == synthetic
    put(root / "SOUL.md", "x")
    assert AgentFolder(root).get("default").identity_loaded


def test_a_root_that_is_no_folder_is_reported(root: Path) -> None:
    """A file in the folder's place gives the synthetic agent and a problem for the log."""
    (agent,) = AgentFolder(put(root / "file", "x")).list()
    assert agent.id == "default"
    assert [problem.reason for problem in agent.problems] == ["the system says Not a directory"]


def test_agent_json_wins(root: Path) -> None:
    """Name, description and default come from agent.json; unknown fields do no harm (section 1.6)."""
    put(root / "amy" / "IDENTITY.md", "Name: Somebody")
    put(root / "kim" / "IDENTITY.md", "Name: Somebody")
    put(
        root / "kim" / "agent.json",
        '{"name": "Kim", "description": "Keeps logs.", "is_default": true, "capabilities": ["chat"], "x": 1}',
    )
    put(root / "kim" / "HATCH.md", "hello")
    assert AgentFolder(root).list() == (
        AgentInfo("amy", "Somebody", "", is_default=False, identity_loaded=True),
        AgentInfo("kim", "Kim", "Keeps logs.", is_default=True, identity_loaded=True, needs_hatching=True),
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"name": 5}', "name: Input should be a valid string"),
        (b'{"is_default": "yes"}', "is_default: Input should be a valid boolean"),
        (b"[]", "Input should be an object"),
        (b'{"name": "Kim"', "Invalid JSON: EOF while parsing an object"),
        (b"[" * 5000, "Invalid JSON: recursion limit exceeded"),
        (b'{"name": "' + b"x" * 65536 + b'"}', "it is larger than 65536 bytes"),
        (b'{"name": "\xff"}', "it is not UTF-8 at byte 10"),
    ],
)
def test_a_bad_agent_json_is_reported_and_the_name_inferred(root: Path, content: bytes, reason: str) -> None:
    """A registry file that is wrong or above 64 KiB costs only itself (section 1.6)."""
    put(root / "kim" / "agent.json", content)
    put(root / "kim" / "SOUL.md", "# Kim the Calm\n")
    agent = AgentFolder(root).get("kim")
    assert (agent.name, agent.is_default) == ("Kim the Calm", True)
    (problem,) = agent.problems
    assert problem.origin == str(root / "kim" / "agent.json")
    assert problem.reason.startswith(reason)


@pytest.mark.parametrize(
    ("identity_file", "soul_file", "name"),
    [
        ("# IDENTITY\n\nName: Kim \n", "# Soul\nName: Other", "Kim"),
        ("# Identity\n## Name: no\n", "# SOUL\n# Kim\n", "Kim"),
        ("x\n" * 19 + "Name: Kim", "# Other", "Kim"),
        ("x\n" * 20 + "Name: Late", "# Kim", "Kim"),
        ("name:\n", "#Kim\n", "the-id"),
        (b"\xff", "# Kim", "Kim"),
    ],
)
def test_inferred_names(root: Path, identity_file: str | bytes, soul_file: str, name: str) -> None:
    """IDENTITY.md, then SOUL.md, is searched for 20 lines; else the id is the name (section 1.6)."""
    put(root / "the-id" / "IDENTITY.md", identity_file)
    put(root / "the-id" / "SOUL.md", soul_file)
    assert AgentFolder(root).get("the-id").name == name


@pytest.mark.parametrize(
    ("marked", "ids", "default"),
    [
        ([], ["zed", "kim", "amy"], "amy"),
        ([], ["zed", "default", "amy"], "default"),
        (["zed"], ["zed", "default", "amy"], "zed"),
        (["zed", "kim"], ["zed", "kim", "amy"], "kim"),
    ],
)
def test_exactly_one_default(root: Path, marked: list[str], ids: list[str], default: str) -> None:
    """The list is sorted and its default does not depend on the order of the directory (section 1.6)."""
    for agent_id in ids:
        put(root / agent_id / "agent.json", '{"is_default": true}' if agent_id in marked else "{}")
    agents = AgentFolder(root).list()
    assert [agent.id for agent in agents] == sorted(ids)
    assert [agent.id for agent in agents if agent.is_default] == [default]


def test_user_file_alone_is_no_identity(root: Path) -> None:
    """identity_loaded asks for SOUL.md, AGENT.md or IDENTITY.md, own or shared (section 1.6)."""
    put(root / "kim" / "USER.md", "x")
    folder = AgentFolder(root)
    assert not folder.get("kim").identity_loaded
    put(root / "AGENT.md", "x")
    assert folder.get("kim").identity_loaded


def test_unknown_agent_is_an_error(root: Path) -> None:
    """An id that no agent has is refused; the original gave out the default agent (defect 25)."""
    (root / "kim").mkdir()
    with pytest.raises(Refused) as refused:
        AgentFolder(root).get("default")
    assert refused.value.code is Code.AGENT_UNKNOWN
    assert refused.value.message == 'There is no agent "default"; ask agent.list for the agents there are.'


def test_the_shipped_agent_is_clean() -> None:
    """The example agent has all four layers, no conflict, no problem, and a name."""
    folder = AgentFolder(SHIPPED)
    identity = folder.identity("default")
    assert identity.conflicts == ()
    assert identity.problems == ()
    assert {section.layer for section in identity.sections} == {
        "SOUL.md",
        "AGENT.md",
        "IDENTITY.md",
        "USER.md",
    }
    info = folder.get("default")
    assert (info.name, info.is_default, info.identity_loaded) == ("Assistant", True, True)

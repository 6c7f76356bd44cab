"""Configuration: sources, their order and origins, every mistake at once, and the shipped file."""

from __future__ import annotations

import textwrap
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiderwebd.config import ConfigError, Loaded, Settings, assignment, describe, load, toml_value
from spiderwebd.config_settings import KEYS, SECTIONS, split_address

SHIPPED = Path(__file__).parent.parent / "etc" / "spiderwebd.toml"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def problems_of(*arguments: object, **keywords: object) -> dict[str, str]:
    """Load what must be refused; return each problem's line by its key, or by its place."""
    with pytest.raises(ConfigError) as caught:
        load(*arguments, **keywords)  # type: ignore[arg-type]  # handed through
    return {problem.key or problem.where: str(problem) for problem in caught.value.problems}


def test_without_any_source_there_are_the_defaults(tmp_path: Path) -> None:
    """A missing default file is fine: every key is the default and says so."""
    loaded = load(None, {}, {}, default_file=tmp_path / "none.toml")
    assert loaded.settings == Settings()
    assert loaded.settings.listen.address == "127.0.0.1:18790"
    assert set(loaded.origins) == set(KEYS)
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.files == ()


def test_the_environment_of_the_process_is_not_read_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings made directly are hermetic: only `load` reads an environment, the one it is given."""
    monkeypatch.setenv("SPIDERWEBD_LIMITS__LINKS", "7")
    assert Settings().limits.links == 20_000


def test_each_source_is_stronger_than_the_one_before(tmp_path: Path) -> None:
    """Defaults, file, conf.d by name, environment, --set, options: the last one that speaks wins."""
    main = write(
        tmp_path / "spiderwebd.toml",
        """\
        [limits]
        links = 1
        sessions = 1
        inbox = 1
        queries = 1
        [state]
        directory = "/one"
        """,
    )
    write(tmp_path / "conf.d" / "20-late.toml", "limits.inbox = 3\nlimits.queries = 3\n")
    write(tmp_path / "conf.d" / "10-early.toml", "[limits]\nsessions = 2\ninbox = 2\n")
    write(tmp_path / "conf.d" / ".hidden.toml", "[limits]\nlinks = 9\n")
    write(tmp_path / "conf.d" / "README", "not TOML")
    loaded = load(
        main,
        {"state.directory": "/five", "workers.total": "5"},
        {"SPIDERWEBD_LIMITS__QUERIES": "4", "SPIDERWEBD_WORKERS__TOTAL": "4", "PATH": "/bin"},
        {"state.directory": "/six"},
    )
    limits = loaded.settings.limits
    assert (limits.links, limits.sessions, limits.inbox, limits.queries) == (1, 2, 3, 4)
    assert loaded.settings.workers.total == 5
    assert loaded.settings.state.directory == Path("/six")
    assert limits.frame_bytes == 262_144
    assert {key: origin for key, origin in loaded.origins.items() if origin != "default"} == {
        "limits.links": f"{main}:2",
        "limits.sessions": f"{tmp_path}/conf.d/10-early.toml:2",
        "limits.inbox": f"{tmp_path}/conf.d/20-late.toml:1",
        "limits.queries": "SPIDERWEBD_LIMITS__QUERIES",
        "workers.total": "--set",
        "state.directory": "--state-dir",
    }
    assert [file.name for file in loaded.files] == ["spiderwebd.toml", "10-early.toml", "20-late.toml"]


def test_lists_are_replaced_and_inline_tables_are_merged(tmp_path: Path) -> None:
    """A later list takes the place of an earlier one; an inline table is a table like any other."""
    main = write(tmp_path / "a.toml", 'listen = {allowed_origins = ["https://a"], insecure = true}\n')
    write(tmp_path / "conf.d" / "b.toml", '[listen]\nallowed_origins = [\n  "https://b",\n]\n')
    loaded = load(main, {}, {})
    assert loaded.settings.listen.allowed_origins == ("https://b",)
    assert loaded.settings.listen.insecure is True
    assert loaded.origins["listen.insecure"] == f"{main}:1"


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    """--config with a file that is not there is a mistake, never silently the defaults."""
    missing = tmp_path / "missing.toml"
    assert problems_of(missing, {}, {}) == {
        str(missing): f"{missing}: cannot be read: No such file or directory"
    }


def test_an_unreadable_default_file_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    """What stands at the default place and cannot be read refuses the start."""
    (tmp_path / "spiderwebd.toml").mkdir()
    found = problems_of(None, {}, {}, default_file=tmp_path / "spiderwebd.toml")
    assert "cannot be read" in found[str(tmp_path / "spiderwebd.toml")]


def test_every_mistake_of_every_source_is_reported_at_once(tmp_path: Path) -> None:
    """Unknown keys, wrong types, bounds, broken TOML and bad variables come in one error."""
    main = write(
        tmp_path / "spiderwebd.toml",
        """\
        lnks = 3
        [limits]
        lniks = 3
        links = "many"
        inbox = 0
        [limit]
        links = 3
        [listen]
        links = 3
        allowed_origins = ["https://ok", "*"]
        [log]
        level = "loud"
        [workers]
        document_directories = ["/srv", 3]
        """,
    )
    broken = write(tmp_path / "conf.d" / "1.toml", "[limits]\nlinks = \n")
    other = write(tmp_path / "conf.d" / "2.toml", "state = 3\n[workers]\ntotal = true\n")
    write(tmp_path / "conf.d" / "3.toml", "").write_bytes(b"# \xff\n")
    found = problems_of(
        main, {"store.batch": "0"}, {"SPIDERWEBD_LISTEN__ADRESS": "x", "SPIDERWEBD_STORE__QUEUE": "few"}
    )
    assert found == {
        f"{broken}:2": f"{broken}:2: is not TOML: Invalid value (at line 2, column 9)",
        str(tmp_path / "conf.d" / "3.toml"): f"{tmp_path}/conf.d/3.toml: is not UTF-8 at byte 2",
        "SPIDERWEBD_LISTEN__ADRESS": (
            "SPIDERWEBD_LISTEN__ADRESS: is no setting; did you mean SPIDERWEBD_LISTEN__ADDRESS?"
        ),
        "lnks": f"{main}:1: lnks: unknown section",
        "limits.lniks": f"{main}:3: limits.lniks: unknown key; did you mean limits.links?",
        "limits.links": f"{main}:4: limits.links: must be a valid integer, not 'many'",
        "limits.inbox": f"{main}:5: limits.inbox: must be greater than or equal to 1, not 0",
        "limit": f"{main}:6: limit: unknown section; did you mean limits?",
        "listen.links": f"{main}:9: listen.links: unknown key; did you mean limits.links?",
        "listen.allowed_origins": (
            f"{main}:10: listen.allowed_origins: '*' is no origin; write it as a browser sends it: "
            "https://host[:port], not ['https://ok', '*']"
        ),
        "log.level": f"{main}:12: log.level: must be 'debug', 'info', 'warning' or 'error', not 'loud'",
        "workers.document_directories": (
            f"{main}:14: workers.document_directories: must be text: a path, not 3"
        ),
        "state": f"{other}:1: state: must be a table of keys",
        "workers.total": f"{other}:3: workers.total: must be a valid integer, not True",
        "store.queue": "SPIDERWEBD_STORE__QUEUE: store.queue: must be a valid integer, not 'few'",
        "store.batch": "--set: store.batch: must be greater than or equal to 1, not 0",
    }


def test_a_mistake_that_a_stronger_source_covers_is_still_reported(tmp_path: Path) -> None:
    """A bad value in the file is reported although the environment has a good one."""
    main = write(tmp_path / "a.toml", "[limits]\nlinks = -1\n")
    assert list(problems_of(main, {}, {"SPIDERWEBD_LIMITS__LINKS": "5"})) == ["limits.links"]


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        ({"listen.address": "0.0.0.0:1"}, "listen.address"),
        ({"listen.address": "[::]:1"}, "listen.address"),
        ({"listen.address": "[::ffff:10.0.0.1]:1"}, "listen.address"),
        ({"listen.tls_key": "/key"}, "listen.tls_key"),
        ({"listen.tls_certificate": "/certificate"}, "listen.tls_certificate"),
        ({"limits.message_bytes": "9999", "limits.frame_bytes": "5000"}, "limits.message_bytes"),
        ({"limits.outbox_bytes": "65536"}, "limits.outbox_bytes"),
        ({"memory.summary_bytes": "9000"}, "memory.summary_bytes"),
        ({"workers.goal_seconds": "10"}, "workers.task_seconds"),
        ({"keepalive.timeout_seconds": "20"}, "keepalive.timeout_seconds"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: dict[str, str], key: str) -> None:
    """An unsafe or contradictory combination names its key and the option that made it."""
    found = problems_of(None, overrides, {})
    assert list(found) == [key]
    assert found[key].startswith("--set: ")


@pytest.mark.parametrize(
    "overrides",
    [
        {"listen.address": "0.0.0.0:1", "listen.insecure": "true"},
        {"listen.address": "10.0.0.1:1", "listen.tls_key": "/k", "listen.tls_certificate": "/c"},
        {"listen.address": "[::1]:0"},
        {"listen.address": "localhost:0"},
        {"listen.address": "127.8.9.10:65535"},
    ],
)
def test_what_is_safe_is_accepted(overrides: dict[str, str]) -> None:
    """Loopback needs nothing; another address needs TLS or an explicit insecure."""
    assert load(None, overrides, {}).settings.listen.address == overrides["listen.address"]


def test_combinations_are_checked_across_files_beside_other_mistakes(tmp_path: Path) -> None:
    """The half of TLS in one file and a bad key in another are both reported, with their files."""
    main = write(tmp_path / "a.toml", '[listen]\ntls_key = "/key"\n')
    write(tmp_path / "conf.d" / "b.toml", "[limits]\nlinks = 0\n")
    assert list(problems_of(main, {}, {})) == ["limits.links", "listen.tls_key"]
    write(tmp_path / "conf.d" / "b.toml", '[listen]\ntls_certificate = "/certificate"\n')
    assert load(main, {}, {}).settings.listen.tls_certificate == Path("/certificate")


def test_text_stays_text_outside_of_files() -> None:
    """A path that looks like a number, a date or true is still a path; quotes are TOML's."""
    overrides = {"state.directory": "2024", "agents.directory": '"/a b"', "listen.unix_socket": "true"}
    settings = load(None, overrides, {"SPIDERWEBD_LISTEN__TLS_KEY": ""}).settings
    assert settings.state.directory == Path("2024")
    assert settings.agents.directory == Path("/a b")
    assert settings.listen.unix_socket == Path("true")
    assert settings.listen.tls_key is None


def test_a_value_outside_of_files_cannot_smuggle_in_another_key() -> None:
    """A line break in a value does not make it two settings."""
    assert "limits.links" in problems_of(None, {"limits.links": "1\nother = 2"}, {})


def test_lists_and_numbers_outside_of_files() -> None:
    """The environment takes TOML lists, fractions and whole numbers for seconds."""
    settings = load(
        None,
        {"heartbeat.interval_seconds": "0.5", "shutdown.grace_seconds": 3},
        {"SPIDERWEBD_WORKERS__DOCUMENT_DIRECTORIES": '["/srv/a", "/srv/b"]'},
    ).settings
    assert settings.heartbeat.interval_seconds == 0.5
    assert settings.shutdown.grace_seconds == 3
    assert settings.workers.document_directories == (Path("/srv/a"), Path("/srv/b"))


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:18790", ("::1", 18_790)),
        ("localhost:1", ("localhost", 1)),
        ("example.org:1", None),
        ("::1:5", None),
        ("127.0.0.1", None),
        ("127.0.0.1:65536", None),
        (":80", None),
        ("[127.0.0.1]:80", None),
        ("127.0.0.1:-1", None),
    ],
)
def test_addresses(address: str, parts: tuple[str, int] | None) -> None:
    """An address is an IP or localhost with a port; everything else is refused, not guessed."""
    if parts is None:
        with pytest.raises(ValueError, match="IPv4:port"):
            split_address(address)
    else:
        assert split_address(address) == parts


def test_assignments_of_the_command_line() -> None:
    """--set splits at the first equals sign; an unknown key is refused with its neighbour."""
    assert assignment("limits.links=5") == ("limits.links", "5")
    assert assignment("state.directory = /a=b") == ("state.directory", "/a=b")
    with pytest.raises(ValueError, match=r"is not section\.key=value"):
        assignment("links=5")
    with pytest.raises(ValueError, match=r"did you mean limits\.links"):
        assignment("limits.link=5")


def test_the_description_is_toml_with_the_origin_of_each_line(tmp_path: Path) -> None:
    """`spiderwebd config` prints a file that loads to the same settings and says where each came from."""
    main = write(tmp_path / "a.toml", '[listen]\nallowed_origins = ["https://a"]\n')
    loaded = load(main, {"memory_manager.byte_ratio": "0.85", "state.directory": '"/a \\"b\\" \\\\c"'}, {})
    text = describe(loaded)
    assert f'allowed_origins = ["https://a"]  # {main}:2' in text
    assert "byte_ratio = 0.85  # --set" in text
    assert "total = 8  # default" in text
    again = write(tmp_path / "again" / "b.toml", text)
    assert load(again, {}, {}).settings == loaded.settings


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_text_survives_being_written_as_toml(text: str) -> None:
    """A path or origin with any character is read back as it was."""
    assert tomllib.loads(f"value = {toml_value(text)}") == {"value": text}


def test_settings_are_frozen(tmp_path: Path) -> None:
    """Nothing can change a setting after loading; a reload makes new ones, equal if nothing changed."""
    loaded = load(None, {}, {}, default_file=tmp_path / "none.toml")
    with pytest.raises(ValueError, match="frozen"):
        loaded.settings.limits.links = 1  # type: ignore[misc]  # that it fails is the point
    assert load(None, {}, {}, default_file=tmp_path / "none.toml").settings == loaded.settings


def shipped_keys() -> dict[str, tuple[object, str]]:
    """Return `section.key` to (value, comment above it) of the shipped file's commented-out keys."""
    found: dict[str, tuple[object, str]] = {}
    section, comment = "", []
    for line in SHIPPED.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section, comment = line.strip("[]"), []
        elif line.startswith("# ") and section:
            comment.append(line[2:])
        elif line.startswith("#") and section:
            ((key, value),) = tomllib.loads(line[1:]).items()
            found[f"{section}.{key}"] = (value, " ".join(comment))
            comment = []
        else:
            assert not line or not section, f"neither comment, section nor key: {line!r}"
    return found


def test_the_shipped_file_names_every_key_with_its_default_and_comment() -> None:
    """etc/spiderwebd.toml is the settings' own list, in order: every key, default and description."""
    expected = {
        f"{section}.{name}": (tomllib.loads(f"v = {toml_value(field.default)}")["v"], field.description)
        for section, model in SECTIONS.items()
        for name, field in model.model_fields.items()
    }
    assert list(shipped_keys().items()) == list(expected.items())


def test_the_shipped_file_loads_to_the_defaults() -> None:
    """As shipped, the file changes nothing."""
    loaded: Loaded = load(SHIPPED, {}, {})
    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}


def test_the_shipped_file_loads_with_every_comment_removed(tmp_path: Path) -> None:
    """An operator may remove the # of every key: the file is then still the defaults."""
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line[1:] if line.startswith("#") and line[1:2].isalpha() else line for line in lines)
    loaded = load(write(tmp_path / "all.toml", text), {}, {})
    assert loaded.settings == Settings()
    assert "default" not in loaded.origins.values()

"""Named tokens: made, shown once, checked, revoked while the daemon runs; a bad file opens no door."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiderwebd import tokens
from spiderwebd.tokens import Principal, Role, TokenError, TokenFile


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_one_operator_token(tmp_path: Path) -> None:
    """DIR/token holds the clear text, tokens.json only its digest; both are the owner's alone."""
    file = TokenFile(tmp_path / "state")
    assert file.ensure_default() is True
    clear = file.default_path.read_text(encoding="ascii").strip()
    assert file.verify(clear) == Principal("local", Role.OPERATOR)
    assert clear.startswith("sw_")
    assert clear not in file.path.read_text(encoding="utf-8")
    assert (mode(file.path), mode(file.default_path), mode(tmp_path / "state")) == (0o600, 0o600, 0o700)


def test_the_second_start_changes_nothing(tmp_path: Path) -> None:
    """The default token stays the same, and comes back neither after a revocation."""
    file = TokenFile(tmp_path)
    file.ensure_default()
    clear = file.default_path.read_text(encoding="ascii")
    assert TokenFile(tmp_path).ensure_default() is False
    assert file.default_path.read_text(encoding="ascii") == clear
    file.revoke("local")
    assert not file.default_path.exists()
    assert TokenFile(tmp_path).ensure_default() is False
    assert file.verify(clear.strip()) is None


def test_a_first_start_that_was_interrupted_is_made_whole(tmp_path: Path) -> None:
    """A clear token without its digest, as a crash leaves it, is replaced by a pair that works."""
    file = TokenFile(tmp_path)
    file.default_path.write_text("sw_left-behind\n", encoding="ascii")
    assert file.ensure_default() is True
    clear = file.default_path.read_text(encoding="ascii").strip()
    assert file.verify("sw_left-behind") is None
    assert file.verify(clear) is not None


def test_tokens_added_before_the_first_start_are_kept(tmp_path: Path) -> None:
    """`token add` may come first; the default token is then made beside it."""
    file = TokenFile(tmp_path)
    clear = file.add("alice", Role.USER)
    with pytest.raises(TokenError, match="first start"):
        file.add("local", Role.USER)
    assert file.ensure_default() is True
    assert file.verify(clear) == Principal("alice", Role.USER)
    assert [token.name for token in file.list()] == ["alice", "local"]


def test_a_change_by_another_process_is_seen_at_the_next_check(tmp_path: Path) -> None:
    """What the command line adds or revokes holds in the running daemon without a reload."""
    daemon, command = TokenFile(tmp_path), TokenFile(tmp_path)
    daemon.ensure_default()
    clear = command.add("alice", Role.USER)
    assert daemon.verify(clear) == Principal("alice", Role.USER)
    command.revoke("alice")
    assert daemon.verify(clear) is None


def test_names_are_checked_and_taken_once(tmp_path: Path) -> None:
    """A bad, a taken and an unknown name are refused with what to do."""
    file = TokenFile(tmp_path)
    file.add("a" * 64, Role.USER)
    for name in ("", "a" * 65, "a b", "ä", "a\n", "../a"):
        with pytest.raises(TokenError, match="no token name"):
            file.add(name, Role.USER)
    with pytest.raises(TokenError, match="revoke it first"):
        file.add("a" * 64, Role.OPERATOR)
    with pytest.raises(TokenError, match="there are: aaaa"):
        file.revoke("bob")


def test_the_number_of_tokens_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full file refuses another token and says so."""
    monkeypatch.setattr(tokens, "MAX_TOKENS", 1)
    file = TokenFile(tmp_path)
    file.add("one", Role.USER)
    with pytest.raises(TokenError, match="revoke one first"):
        file.add("two", Role.USER)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"version": 2, "tokens": []}',
        b'{"version": 1, "tokens": [{"name": "a", "role": "root", "sha256": "", "created_ms": 0}]}',
        b'{"version": 1, "tokens": [{"name": "a", "role": "user", "sha256": "00", "created_ms": 0}]}',
        b'{"version": 1, "tokens": [], "extra": 1}',
    ],
)
def test_a_corrupt_file_is_named_and_lets_nobody_in(tmp_path: Path, content: bytes) -> None:
    """A broken file refuses checks, changes and the start; it is never overwritten."""
    file = TokenFile(tmp_path)
    file.ensure_default()
    clear = file.default_path.read_text(encoding="ascii").strip()
    assert file.verify(clear) is not None
    file.path.write_bytes(content)
    for attempt in (
        lambda: file.verify(clear),
        lambda: file.verify(""),
        lambda: file.add("alice", Role.USER),
        lambda: file.revoke("local"),
        file.ensure_default,
        file.list,
    ):
        with pytest.raises(TokenError, match=r"tokens\.json is corrupt"):
            attempt()
    assert file.path.read_bytes() == content


def test_two_tokens_of_one_name_are_corrupt(tmp_path: Path) -> None:
    """Two rows with one name would make a revocation ambiguous."""
    file = TokenFile(tmp_path)
    file.add("alice", Role.USER)
    document = json.loads(file.path.read_text(encoding="utf-8"))
    document["tokens"] *= 2
    file.path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(TokenError, match="same name"):
        file.list()


def test_a_file_that_went_away_closes_the_door(tmp_path: Path) -> None:
    """Without the file nobody is known; the tokens read before are forgotten."""
    file = TokenFile(tmp_path)
    clear = file.add("alice", Role.USER)
    file.path.unlink()
    assert file.verify(clear) is None


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    """What cannot be read is not taken for an empty file."""
    (tmp_path / "tokens.json").mkdir()
    with pytest.raises(TokenError, match="cannot be read"):
        TokenFile(tmp_path).verify("sw_x")


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """The reason names the folder."""
    (tmp_path / "state").write_text("", encoding="ascii")
    with pytest.raises(TokenError, match=r"state cannot be written"):
        TokenFile(tmp_path / "state").ensure_default()


@given(st.text(st.characters(codec=None)))
def test_no_text_is_a_token_by_chance_nor_raises(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever a header holds, lone surrogates too, the answer is None."""
    file = TokenFile(tmp_path_factory.getbasetemp() / "any")
    if not file.path.exists():
        file.ensure_default()
    assert file.verify(text) is None


def test_every_digest_is_compared_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A match at the first row does not end the comparison early."""
    file = TokenFile(tmp_path)
    first = file.add("first", Role.USER)
    file.add("second", Role.USER)
    compared: list[bytes] = []
    real = tokens.hmac.compare_digest

    def counting(known: bytes, given_digest: bytes) -> bool:
        compared.append(known)
        return bool(real(known, given_digest))

    monkeypatch.setattr(tokens.hmac, "compare_digest", counting)
    assert file.verify(first) == Principal("first", Role.USER)
    assert len(compared) == 2


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    """Processes that add tokens at once wait for each other: every token is in the file."""
    script = (
        "import sys; from pathlib import Path; from spiderwebd.tokens import Role, TokenFile\n"
        "file = TokenFile(Path(sys.argv[1]))\n"
        "[file.add(f'{sys.argv[2]}-{number}', Role.USER) for number in range(5)]"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(number)]) for number in range(3)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    names = {token.name for token in TokenFile(tmp_path).list()}
    assert names == {f"{writer}-{number}" for writer in range(3) for number in range(5)}
    assert {path.name for path in tmp_path.iterdir()} == {"tokens.json", "tokens.lock"}


def test_a_lock_that_is_never_released_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for another writer has a deadline and an error that says what happened."""
    monkeypatch.setattr(tokens, "LOCK_SECONDS", 0.02)
    file = TokenFile(tmp_path)
    with file._locked(), pytest.raises(TokenError, match="another process"):
        TokenFile(tmp_path).add("alice", Role.USER)
    assert TokenFile(tmp_path).add("alice", Role.USER)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_leaves_files_that_the_daemon_can_read(tmp_path: Path) -> None:
    """`sudo spiderwebd token add` makes files that belong to the owner of the folder."""
    os.chown(tmp_path, 12_345, 12_346)
    file = TokenFile(tmp_path)
    file.ensure_default()
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in tmp_path.iterdir()}
    assert owners == {(12_345, 12_346)}

"""The set of links of a session: joining, leaving, who hears what."""

from __future__ import annotations

import pytest

from spiderwebd.core.codes import Close
from spiderwebd.session.links import Links
from tests.session.household import Listener


def test_a_link_that_left_while_it_waited_does_not_join() -> None:
    """A link that goes before the loop attaches it leaves nothing behind."""
    links, listener = Links(), Listener()
    links.expect(listener)
    assert len(links) == 1
    links.leave(listener)
    assert links.join(listener, 5) is None
    assert len(links) == 0


def test_live_links_alone_hear_the_story() -> None:
    """A link that is being told the past is passed by, and what a live one heard is remembered."""
    links, live, replaying = Links(), Listener(), Listener()
    for listener in (live, replaying):
        links.expect(listener)
        links.join(listener, 3)
    attached = links.get(replaying)
    assert attached is not None
    attached.live = False
    links.tell(4, '{"type":"x","seq":4}')
    assert (live.seqs, replaying.seqs) == ([4], [])
    heard = links.get(live)
    assert heard is not None
    assert (heard.joined, heard.sent, attached.sent) == (3, 4, 3)


def test_replies_go_to_one_link_that_is_here() -> None:
    """A reply reaches its link alone; one for a link that went is dropped."""
    links, one, other = Links(), Listener(), Listener()
    for listener in (one, other):
        links.expect(listener)
        links.join(listener, 0)
    links.reply(one, '{"type":"pong"}')
    links.leave(other)
    links.reply(other, '{"type":"pong"}')
    assert (len(one.frames), len(other.frames)) == (1, 0)


def test_those_that_join_are_closed_too() -> None:
    """When a session ends, links whose attaching still waits are told like the others."""
    links, joined, joining = Links(), Listener(), Listener()
    links.expect(joined)
    links.join(joined, 0)
    links.expect(joining)
    links.close_all(Close.INTERNAL, "it failed")
    assert joined.closed == joining.closed == (Close.INTERNAL, "it failed")
    assert len(links) == 0


def test_what_one_step_says_goes_out_in_one_write() -> None:
    """All of a block is joined for each link, also when something in it fails."""
    links, one, other = Links(), Listener(), Listener()
    for listener in (one, other):
        links.expect(listener)
        links.join(listener, 0)
    with links.joined():
        links.tell(1, '{"type":"x","seq":1}')
        links.reply(one, '{"type":"pong"}')
        assert one.writes == other.writes == []
    with pytest.raises(RuntimeError), links.joined():  # noqa: PT012  # the telling is part of it
        links.tell(2, '{"type":"x","seq":2}')
        raise RuntimeError("a bug")
    links.tell(3, '{"type":"x","seq":3}')
    assert (one.writes, other.writes) == ([2, 1, 1], [1, 1, 1])

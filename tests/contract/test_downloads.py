"""Downloads that break off, change, lie or are refused, from a server on loopback."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import FileServer

from volume.asset_list import Known
from volume.downloads import Patience, RefusedError, Remote, fetch, part_of
from volume.errors import VolumeError

DATA = random.Random(0).randbytes(300_000)
KNOWN = Known(len(DATA), hashlib.sha256(DATA).hexdigest())
QUICK = Patience(attempts=4, pause=0.0)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({"/f": DATA}) as running:
        yield running


def get(server: FileServer, target: Path, known: Known = KNOWN, **more: str) -> Known:
    return fetch(Remote(f"{server.address}/f", known, **more), target, QUICK, lambda done, total: None)


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_that_breaks_off_three_times_is_sent_once_in_all(server: FileServer, tmp_path: Path) -> None:
    server.breaks["/f"] = [50_000, 100_000, 1]
    found = get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == DATA
    assert server.sent["/f"] == len(DATA)
    assert (found.size, found.sha256) == (KNOWN.size, KNOWN.sha256)
    assert leftovers(tmp_path) == {"f"}


def test_a_server_without_ranges_starts_over(server: FileServer, tmp_path: Path) -> None:
    server.plain.add("/f")
    server.breaks["/f"] = [100_000]
    get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == DATA
    assert server.sent["/f"] == len(DATA) + 100_000


@pytest.mark.parametrize("known", [KNOWN, Known(len(DATA)), Known()], ids=["digest known", "size known", "nothing known"])
def test_a_file_that_changes_meanwhile_is_not_joined_of_two_versions(server: FileServer, tmp_path: Path, known: Known) -> None:
    server.breaks["/f"] = [100_000]
    server.files["/f"] = bytes(len(DATA))
    with pytest.raises(VolumeError, match="broke off after 100000"):
        fetch(Remote(f"{server.address}/f", known), tmp_path / "f", Patience(1, 0.0), lambda done, total: None)
    server.files["/f"] = DATA
    get(server, tmp_path / "f", known)
    assert (tmp_path / "f").read_bytes() == DATA
    assert server.requests[-1][1]["If-Range"] == f'"{hashlib.md5(bytes(len(DATA))).hexdigest()}"'


def test_parts_of_two_versions_that_a_server_without_tags_sends_are_found_out(server: FileServer, tmp_path: Path) -> None:
    server.tags["/f"] = [""]
    part_of(tmp_path / "f").file.write_bytes(bytes(100_000))
    get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == DATA
    assert server.sent["/f"] == 2 * len(DATA) - 100_000


def test_without_tag_and_digest_nothing_is_continued(server: FileServer, tmp_path: Path) -> None:
    server.tags["/f"] = ['W/"weak"']
    part_of(tmp_path / "f").file.write_bytes(bytes(100_000))
    get(server, tmp_path / "f", Known(len(DATA)))
    assert (tmp_path / "f").read_bytes() == DATA
    assert "Range" not in server.requests[0][1]


def test_wrong_bytes_are_an_error_that_names_both_digests(server: FileServer, tmp_path: Path) -> None:
    server.files["/f"] = bytes(len(DATA))
    with pytest.raises(VolumeError) as caught:
        get(server, tmp_path / "f")
    assert KNOWN.sha256 in str(caught.value) and hashlib.sha256(bytes(len(DATA))).hexdigest() in str(caught.value)
    assert leftovers(tmp_path) == set()


def test_a_small_file_is_held_to_the_name_that_git_gives_it(server: FileServer, tmp_path: Path) -> None:
    blob = hashlib.sha1(b"blob %d\0" % len(DATA) + DATA).hexdigest()
    assert get(server, tmp_path / "f", Known(len(DATA), blob=blob)).blob == blob
    with pytest.raises(VolumeError, match="git blob"):
        get(server, tmp_path / "g", Known(len(DATA), blob="0" * 40))


def test_another_size_is_refused_before_a_byte_is_kept(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="has 300000 bytes, expected 299999"):
        get(server, tmp_path / "f", Known(len(DATA) - 1))
    assert leftovers(tmp_path) == set()


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_instead_of_the_file_is_said_to_be_one(server: FileServer, tmp_path: Path, kind: str) -> None:
    server.files["/f"], server.types["/f"] = b"\n<!DOCTYPE html><html>Quota exceeded</html>", kind
    with pytest.raises(RefusedError, match="web page") as caught:
        get(server, tmp_path / "f", Known())
    assert caught.value.code == 200 and leftovers(tmp_path) == set()


def test_a_file_must_begin_as_its_kind_does(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="SQLite format 3"):
        get(server, tmp_path / "f", Known(), begins="SQLite format 3")
    server.files["/f"] = b"SQLite format 3\0" + DATA
    get(server, tmp_path / "f", Known(), begins="SQLite format 3")


def test_a_busy_server_is_asked_again_and_a_refusal_is_not(server: FileServer, tmp_path: Path) -> None:
    server.statuses["/f"] = [503, 429]
    get(server, tmp_path / "f")
    assert len(server.requests) == 3
    server.statuses["/f"] = [404]
    with pytest.raises(RefusedError, match="404") as caught:
        get(server, tmp_path / "g")
    assert caught.value.code == 404 and len(server.requests) == 4


def test_a_server_that_only_breaks_off_is_given_up_and_what_came_is_kept(server: FileServer, tmp_path: Path) -> None:
    server.breaks["/f"] = [100_000, 0, 0, 0, 0]
    with pytest.raises(VolumeError, match="are kept in"):
        get(server, tmp_path / "f")
    assert part_of(tmp_path / "f").size == 100_000
    get(server, tmp_path / "f")
    assert server.sent["/f"] == len(DATA)


def test_a_part_longer_than_the_file_starts_over(server: FileServer, tmp_path: Path) -> None:
    part_of(tmp_path / "f").file.write_bytes(bytes(len(DATA) + 1))
    get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == DATA


def test_a_part_that_the_server_does_not_have_starts_over(server: FileServer, tmp_path: Path) -> None:
    part_of(tmp_path / "f").file.write_bytes(bytes(len(DATA) + 1))
    get(server, tmp_path / "f", Known(sha256=KNOWN.sha256))
    assert (tmp_path / "f").read_bytes() == DATA


def test_a_token_goes_to_the_address_and_not_to_where_it_redirects(server: FileServer, tmp_path: Path) -> None:
    with FileServer({"/there": DATA}) as other:
        server.redirects["/f"] = f"{server.address}/moved"
        server.redirects["/moved"] = f"{other.address}/there"
        server.tokens["/f"] = server.tokens["/moved"] = "secret"
        other.breaks["/there"] = [100_000]
        get(server, tmp_path / "f", token="secret")
        assert (tmp_path / "f").read_bytes() == DATA
        assert len(other.requests) == 2 and other.sent["/there"] == len(DATA)
        assert all("secret" not in str(headers) for _, headers in other.requests)


def test_a_server_that_is_not_there_is_an_error_of_one_line(tmp_path: Path) -> None:
    with FileServer() as gone:
        address = gone.address
    with pytest.raises(VolumeError, match="cannot be reached") as caught:
        fetch(Remote(f"{address}/f"), tmp_path / "f", QUICK, lambda done, total: None)
    assert "\n" not in str(caught.value)

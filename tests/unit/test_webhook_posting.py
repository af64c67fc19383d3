"""Posting to addresses that others chose, and when again; no registry."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from webhook_receiver import Receiver, receiving

from forge_server.domain.hooks import (
    EVENTS,
    LONGEST,
    MAX_TRIES,
    body_of,
    covering,
    next_try,
    parse_about,
    parse_events,
    parse_url,
    retry_after,
    wants,
)
from forge_server.errors import RegistryError
from forge_server.services.posting import MAX_ANSWER, Networks, NotPostedError, Poster
from signing.errors import MalformedError

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
LOOPBACK = Networks((ip_network("127.0.0.0/8"),))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


class TestAddresses:
    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0",
            "100.100.100.200", "168.63.129.16", "224.0.0.1", "255.255.255.255", "198.18.0.1",
            "::1", "::", "fe80::1", "fe80::1%1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1",
            "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::10.0.0.1",
            "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::",
            "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:db8::1",
        ],
    )  # fmt: skip
    def test_of_no_public_network_are_not_asked(self, address: str) -> None:
        assert not Networks().allow(ip_address(address))

    @pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
    def test_of_the_public_internet_are(self, address: str) -> None:
        assert Networks().allow(ip_address(address))

    def test_of_named_networks_are_and_no_others(self) -> None:
        named = Networks((ip_network("10.0.0.0/8"), ip_network("fd12::/16")))
        for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd12::1"):
            assert named.allow(ip_address(address)), address
        for address in ("127.0.0.1", "192.168.0.1", "fd13::1", "169.254.169.254"):
            assert not named.allow(ip_address(address)), address

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1/", "http://[::1]:80/", "https://169.254.169.254/latest"]
    )
    def test_literal_ones_are_refused_at_once(self, url: str) -> None:
        with pytest.raises(RegistryError) as caught:
            Networks().require_host(url)
        assert caught.value.code == "webhook-refused"

    @pytest.mark.parametrize(
        "url",
        [
            "ftp://host/", "file:///etc/passwd", "//host/", "http://", "http://u:p@host/",
            "http://host/#part", "http://host/a b", "http://host/\r\nX: y", "http://hôte/",
            "http://host:0/", "http://host:99999/", "http://[::1/", "http://host\\@other/",
            f"http://host/{'a' * 2000}", "gopher://host/",
        ],
    )  # fmt: skip
    def test_what_is_no_address(self, url: str) -> None:
        with pytest.raises(MalformedError) as caught:
            parse_url(url, "url")
        assert "u:p" not in caught.value.message


class TestPosting:
    def test_the_judged_address_is_the_one_that_is_asked(self, receiver: Receiver) -> None:
        """A name is looked up once: what it means a moment later does not matter."""
        meanings: list[str] = ["127.0.0.1", "127.0.0.2"]

        def resolve(host: str, port: int) -> list[Any]:
            assert host == "hooks.example"
            address = (meanings.pop(0), port)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)]

        only = Networks((ip_network("127.0.0.1/32"),))
        answer = Poster(only, resolve=resolve).post(
            f"http://hooks.example:{receiver.port}/a?b=c", {"X-One": "1"}, b"{}"
        )
        assert (answer.status, answer.text, meanings) == (200, "fine", ["127.0.0.2"])
        ((path, headers, body),) = receiver.got
        assert (path, headers["x-one"], body) == ("/a?b=c", "1", b"{}")
        assert headers["host"] == f"hooks.example:{receiver.port}"

    def test_a_name_that_means_an_inner_address(self, receiver: Receiver) -> None:
        for networks in (Networks(), Networks((ip_network("10.0.0.0/8"),))):
            with pytest.raises(NotPostedError, match="webhook_networks"):
                Poster(networks).post(f"http://localhost:{receiver.port}/", {}, b"")
        assert receiver.got == []

    def test_redirects_are_not_followed(self, receiver: Receiver) -> None:
        receiver.answers, receiver.headers = [302, 200], {"Location": receiver.url}
        assert Poster(LOOPBACK).post(receiver.url, {}, b"").status == 302
        assert len(receiver.got) == 1

    def test_no_proxy_of_the_environment(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        assert Poster(LOOPBACK).post(receiver.url, {}, b"").status == 200

    def test_the_begin_of_the_answer_is_enough(self, receiver: Receiver) -> None:
        receiver.body = b"\0\xff" + b"a" * 10_000_000
        answer = Poster(LOOPBACK).post(receiver.url, {}, b"")
        assert answer.text[:3] == "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}a"
        assert len(answer.text) == MAX_ANSWER

    def test_who_never_ends_an_answer_is_left(self, receiver: Receiver) -> None:
        """Each byte comes in time, and all of them never would."""
        receiver.answers = ["drip"]
        with pytest.raises(NotPostedError, match="no answer within"):
            Poster(LOOPBACK, seconds=0.3).post(receiver.url, {}, b"")

    def test_who_hangs_up_or_is_not_there(self, receiver: Receiver) -> None:
        receiver.answers = ["hang up"]
        with pytest.raises(NotPostedError, match="without an answer"):
            Poster(LOOPBACK).post(receiver.url, {}, b"")
        with pytest.raises(NotPostedError, match="refused"):
            Poster(LOOPBACK).post("http://127.0.0.1:1/", {}, b"")
        with pytest.raises(NotPostedError, match=r"SSL|HTTP|answer"):
            Poster(LOOPBACK).post(receiver.url.replace("http:", "https:"), {}, b"")

    def test_a_name_server_that_never_answers_is_left(self) -> None:
        over = threading.Event()

        def resolve(host: str, port: int) -> list[Any]:
            over.wait()
            return []

        try:
            with pytest.raises(NotPostedError, match="no answer within"):
                Poster(LOOPBACK, 0.05, resolve).post("http://slow.example/", {}, b"")
        finally:
            over.set()

    def test_certificates_are_verified_for_the_name(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []

        def wrap(context: ssl.SSLContext, _: socket.socket, *, server_hostname: str) -> None:
            seen.append((context.verify_mode, context.check_hostname, server_hostname))
            raise ssl.SSLError

        def resolve(host: str, port: int) -> list[Any]:
            return socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)

        monkeypatch.setattr(ssl.SSLContext, "wrap_socket", wrap)
        with pytest.raises(NotPostedError):
            Poster(LOOPBACK, resolve=resolve).post(
                f"https://hooks.example:{receiver.port}/", {}, b""
            )
        assert seen == [(ssl.CERT_REQUIRED, True, "hooks.example")]

    def test_a_name_that_nobody_knows(self) -> None:
        def resolve(host: str, port: int) -> list[Any]:
            raise socket.gaierror

        with pytest.raises(NotPostedError, match="not known"):
            Poster(LOOPBACK, resolve=resolve).post("http://no.example/", {}, b"")


class TestWhenAgain:
    def test_over_about_a_day(self) -> None:
        waits = [next_try(tries, None, 0.5) for tries in range(1, MAX_TRIES + 1)]
        assert waits[-1] is None
        known = [wait for wait in waits if wait is not None]
        assert known == sorted(known)
        assert timedelta(hours=18) < sum(known, timedelta()) < timedelta(hours=28)

    def test_not_all_at_once(self) -> None:
        low, high = next_try(3, None, 0.0), next_try(3, None, 1.0)
        assert low is not None
        assert high is not None
        assert (low, high) == (timedelta(minutes=4), timedelta(minutes=6))

    def test_as_the_receiver_asks_but_not_for_ever(self) -> None:
        assert next_try(1, timedelta(hours=2), 0.5) == timedelta(hours=2)
        assert next_try(1, timedelta(days=400), 0.5) == LONGEST
        assert next_try(4, timedelta(seconds=1), 0.5) == timedelta(minutes=30)
        assert next_try(MAX_TRIES, timedelta(hours=1), 0.5) is None

    @pytest.mark.parametrize(
        ("header", "wait"),
        [
            ("120", timedelta(minutes=2)),
            ("Thu, 26 Nov 2026 13:00:00 GMT", timedelta(hours=1)),
            ("Thu, 26 Nov 2026 11:00:00 GMT", timedelta()),
            ("soon", None), ("-5", None), ("9" * 30, None), ("\u0665", None), ("", None),
            (None, None),
        ],
    )  # fmt: skip
    def test_what_it_asks(self, header: str | None, wait: timedelta | None) -> None:
        assert retry_after(header, NOW) == wait


class TestWhoHears:
    def test_of_what(self) -> None:
        assert covering("org/name==1.0") == ("", "org", "org/name")
        assert covering("org") == ("", "org")
        assert covering(None) == ("",)

    def test_of_which_events(self) -> None:
        assert wants([], "expiry.soon")
        assert wants(["expiry"], "expiry.soon")
        assert wants(["release.yanked"], "release.yanked")
        assert not wants(["release.yanked", "review"], "release.published")

    def test_no_more_than_everybody_may_see(self) -> None:
        detail = {"reason": "old", "text": "by a stranger", "host": "ws-12", "number": 7}
        told = json.loads(body_of("release.yank", "lab/name==1.0", detail, NOW))
        assert told["data"] == {
            "organisation": "lab", "component": "lab/name", "version": "1.0", "reason": "old",
        }  # fmt: skip

    def test_names_are_known_ones(self) -> None:
        assert parse_events(["release.yanked", "review", "review"], "x") == [
            "review", "release.yanked",
        ]  # fmt: skip
        assert parse_events(EVENTS, "x") == list(EVENTS)
        with pytest.raises(MalformedError, match=r"release\.published"):
            parse_events(["release.publish"], "x")
        assert [parse_about(text, "x") for text in ("", "lab", "lab/name")] == [
            "", "lab", "lab/name",
        ]  # fmt: skip
        for bad in ("Lab!", "lab/name/x", "lab/", "*"):
            with pytest.raises(MalformedError):
                parse_about(bad, "x")

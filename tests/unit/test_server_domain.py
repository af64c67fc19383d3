"""The server's pure rules, one class per subject."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_server.domain.addresses import counted_as
from forge_server.domain.members import ROLES, parse_member_role, require_member_role
from forge_server.domain.scopes import ACTIONS, Scope, parse_scope
from forge_server.domain.text import harmless, one_log_line
from forge_server.domain.tokens import contains_token, is_well_formed, new_token, redact
from forge_server.domain.versions import latest_version
from forge_server.errors import RegistryError
from forge_server.logs import SafeFormatter
from forge_server.services.throttle import Throttle
from forge_server.settings import Settings, parse_settings, read_settings
from forge_server.static_plane.ranges import Span, etag_matches, parse_range, range_is_wanted

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


class TestTokens:
    @given(st.binary(min_size=32, max_size=32))
    def test_every_token_is_well_formed_and_redacted(self, random: bytes) -> None:
        token = new_token(random)
        assert is_well_formed(token)
        assert contains_token(f"?t={token}&x")
        assert random.hex() not in token
        assert token not in redact(f"before {token} after")

    @given(st.binary(min_size=32, max_size=32), st.integers(0, 57), st.sampled_from("abz27"))
    def test_one_wrong_letter_is_noticed(self, random: bytes, at: int, letter: str) -> None:
        token = new_token(random)
        changed = token[: 6 + at] + letter + token[7 + at :]
        assert is_well_formed(changed) is (changed == token)

    @pytest.mark.parametrize(
        "text", ["", "forge_", "FORGE_" + "a" * 58, "forge_" + "a" * 57, "forge_" + "A" * 58,
                 "forge_" + "a" * 58 + "\n", "forge_" + "1" * 58, "forge_" + "é" * 58],
    )  # fmt: skip
    def test_what_is_no_token(self, text: str) -> None:
        assert not is_well_formed(text)

    def test_needs_32_bytes(self) -> None:
        with pytest.raises(ValueError, match="32 random bytes"):
            new_token(b"short")


def scope(actions: str, organisation: str | None = None, component: str | None = None) -> Scope:
    return parse_scope(actions.split(), organisation, component)


class TestScopes:
    @pytest.mark.parametrize(
        ("have", "action", "organisation", "component", "allowed"),
        [
            (scope("publish"), "publish", "a", "a/b", True),
            (scope("publish"), "manage", "a", None, False),
            (scope("publish", "a"), "publish", "a", "a/b", True),
            (scope("publish", "a"), "publish", "c", "c/b", False),
            (scope("publish", "a"), "publish", None, None, False),
            (scope("publish", None, "a/b"), "publish", "a", "a/b", True),
            (scope("publish", None, "a/b"), "publish", "a", "a/c", False),
            (scope("publish manage", None, "a/b"), "manage", "a", None, False),
            (scope("read"), "publish", "a", "a/b", False),
        ],
    )
    def test_allows(
        self, have: Scope, action: str, organisation: str, component: str, allowed: bool
    ) -> None:
        assert have.allows(action, organisation, component) is allowed

    @pytest.mark.parametrize(
        ("maker", "made", "covered"),
        [
            (scope("publish manage"), scope("publish"), True),
            (scope("manage"), scope("publish"), False),
            (scope("manage", "a"), scope("manage"), False),
            (scope("manage", "a"), scope("manage", "a"), True),
            (scope("manage", "a"), scope("manage", None, "a/b"), True),
            (scope("manage", "a"), scope("manage", None, "c/b"), False),
            (scope("manage", None, "a/b"), scope("manage", "a"), False),
            (scope("manage", None, "a/b"), scope("manage", None, "a/b"), True),
        ],
    )
    def test_covers(self, maker: Scope, made: Scope, covered: bool) -> None:
        assert maker.covers(made) is covered

    def test_unknown_action_and_foreign_component(self) -> None:
        with pytest.raises(RegistryError, match="'fly'"):
            scope("fly")
        with pytest.raises(RegistryError, match="found none"):
            parse_scope([], None, None)
        with pytest.raises(RegistryError, match="one of a, found b/c"):
            scope("read", "a", "b/c")

    def test_texts_in_one_order(self) -> None:
        assert scope("inventory manage publish read", "a").texts() == [f"{a}:a" for a in ACTIONS]


class TestMembers:
    def test_each_role_may_what_the_lower_ones_may(self) -> None:
        for number, role in enumerate(ROLES):
            for least in ROLES[: number + 1]:
                require_member_role(role, least, "a")
            for least in ROLES[number + 1 :]:
                with pytest.raises(RegistryError, match="or more, found"):
                    require_member_role(role, least, "a")

    def test_strangers_and_unknown_roles(self) -> None:
        with pytest.raises(RegistryError) as error:
            require_member_role(None, "reader", "a")
        assert error.value.code == "not-a-member"
        with pytest.raises(RegistryError, match="'king'"):
            parse_member_role("king")


class TestText:
    @pytest.mark.parametrize(
        "evil", ["\x1b[31m", "\x9b31m", "a\rb", "\u202egpj", "\u2066x", "\ufeff", "\x00", "\u2028"]
    )
    def test_what_drives_a_screen_is_gone(self, evil: str) -> None:
        shown = harmless(f"x{evil}y")
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]", shown)
        assert "\n" not in one_log_line(f"{evil}\n{evil}")
        assert "\x1b" not in one_log_line(evil)

    @pytest.mark.parametrize("text", ["دارجة", "ⵜⴰⵎⴰⵣⵉⵖⵜ", "été", "日本", "a b"])
    def test_letters_stay(self, text: str) -> None:
        assert harmless(text) == text
        assert one_log_line(text) == text

    def test_log_lines_are_one_line_without_tokens(self) -> None:
        token = new_token(b"x" * 32)
        path = f"/a\n2026 INFO fake\x1b[0m {token}"
        record = logging.LogRecord("forge_server", logging.INFO, "", 0, "path %s", (path,), None)
        line = SafeFormatter("%(levelname)s %(message)s").format(record)
        assert line.count("\n") == 0
        assert "\x1b" not in line
        assert token not in line
        assert "fake" in line


class TestLatest:
    @pytest.mark.parametrize(
        ("versions", "latest"),
        [
            ([], None),
            ([("1.0", False), ("1.10", False), ("1.9", False)], "1.10"),
            ([("1.0", False), ("2.0rc1", False)], "1.0"),
            ([("1.0", True), ("2.0rc1", False)], "2.0rc1"),
            ([("1.0", False), ("2.0", True)], "1.0"),
            ([("1.0", True), ("2.0", True)], "2.0"),
        ],
    )
    def test_latest(self, versions: list[tuple[str, bool]], latest: str | None) -> None:
        assert latest_version(versions) == latest


class TestRanges:
    @pytest.mark.parametrize(
        ("header", "span"),
        [
            (None, None),
            ("bytes=0-9", (0, 10)),
            ("bytes=90-", (90, 10)),
            ("bytes=-10", (90, 10)),
            ("bytes=-1000", (0, 100)),
            ("bytes=50-1000", (50, 50)),
            ("BYTES=0-0", (0, 1)),
            ("bytes= 0 - 9", (0, 10)),
            ("items=0-9", None),
            ("bytes=9-0", None),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("bytes=1", None),
            ("bytes=99999999999999999999-", None),
            ("", None),
        ],
    )
    def test_one_range(self, header: str | None, span: tuple[int, int] | None) -> None:
        found = parse_range(header, 100)
        assert found == (None if span is None else Span(*span, 100))

    @pytest.mark.parametrize(
        "header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=0-1,3-4", "bytes=0-,0-,0-"]
    )
    def test_unsatisfiable(self, header: str) -> None:
        with pytest.raises(RegistryError) as error:
            parse_range(header, 100)
        assert error.value.code == "range-not-satisfiable"
        assert error.value.facts["size"] == 100

    def test_empty_file(self) -> None:
        with pytest.raises(RegistryError):
            parse_range("bytes=0-0", 0)

    @given(st.text(max_size=40), st.integers(0, 2**40))
    def test_any_text(self, text: str, size: int) -> None:
        try:
            span = parse_range(f"bytes={text}", size)
        except RegistryError:
            return
        assert span is None or (span.count > 0 and span.start + span.count <= size)

    def test_conditions(self) -> None:
        assert etag_matches('"a", W/"b"', "b")
        assert etag_matches("*", "b")
        assert not etag_matches(None, "b")
        assert not etag_matches('"a"', "b")
        assert range_is_wanted(None, "a")
        assert range_is_wanted('"a"', "a")
        assert not range_is_wanted('W/"a"', "a")
        assert not range_is_wanted("Wed, 21 Oct 2026 07:28:00 GMT", "a")


class TestThrottle:
    def test_waits_and_forgets(self) -> None:
        throttle = Throttle(3)
        for second in range(3):
            throttle.check("a", NOW)
            throttle.failed("a", NOW + timedelta(seconds=second))
        with pytest.raises(RegistryError) as error:
            throttle.check("a", NOW + timedelta(seconds=10))
        assert error.value.facts["retry_after_seconds"] == 51
        throttle.check("b", NOW)
        throttle.check("a", NOW + timedelta(seconds=63))

    def test_a_clock_that_jumps_back_locks_nobody_out(self) -> None:
        throttle = Throttle(1)
        throttle.failed("a", NOW)
        throttle.check("a", NOW - timedelta(days=1))

    def test_memory_is_bounded(self) -> None:
        throttle = Throttle(2)
        for number in range(10_050):
            throttle.failed(str(number), NOW)
        throttle.failed("x", NOW)
        assert len(throttle._failures) <= 10_000

    def test_who_has_a_network_has_one_address(self) -> None:
        throttle = Throttle(2)
        throttle.failed("2001:db8:0:7::1", NOW)
        throttle.failed("2001:db8:0:7:ffff::2", NOW)
        with pytest.raises(RegistryError, match="refused attempts"):
            throttle.check("2001:db8:0:7:abcd::3", NOW)
        throttle.check("2001:db8:0:8::1", NOW)

    @pytest.mark.parametrize(
        ("address", "counted"),
        [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:DB8::1:2:3:4:5", "2001:db8:0:1::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("(a socket)", "(a socket)"),
        ],
    )
    def test_what_attempts_count_for(self, address: str, counted: str) -> None:
        assert counted_as(address) == counted

    def test_no_limit(self) -> None:
        throttle = Throttle(0)
        throttle.failed("a", NOW)
        throttle.check("a", NOW)


class TestSettings:
    def test_defaults_and_values(self, tmp_path: Path) -> None:
        file = tmp_path / "server.toml"
        file.write_text('name = "X"\nport = 9\n')
        assert read_settings(file) == Settings(name="X", port=9)

    @pytest.mark.parametrize(
        ("text", "found"),
        [("prot = 1", "'prot'"), ('port = "1"', "found str"), ("port = true", "found bool"),
         ("port = -1", "found -1"), ("port =", "expected TOML")],
    )  # fmt: skip
    def test_refused(self, tmp_path: Path, text: str, found: str) -> None:
        file = tmp_path / "server.toml"
        file.write_text(text)
        with pytest.raises(RegistryError, match=re.escape(found)):
            read_settings(file)

    def test_template_is_valid_when_uncommented(self, tmp_path: Path) -> None:
        from forge_server.settings import TEMPLATE

        file = tmp_path / "server.toml"
        lines = [line.removeprefix("# ") for line in TEMPLATE.splitlines() if " = " in line]
        file.write_text("\n".join(lines))
        assert read_settings(file) == Settings()
        assert parse_settings({}, file) == Settings()

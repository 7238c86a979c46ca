"""Tokens: shown once, kept as secrets, in a file nobody else reads."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rtvc.cli import main
from rtvc.config import ConfigError
from rtvc.control.auth import Identity, answer_to, matching, secret_of
from rtvc.control.lockout import ADDRESSES, FORGET_S, FREE, LONGEST_S, Lockout
from rtvc.control.tokens import TokenFile, tokens_path
from rtvc.control.wire import Role


def test_a_token_is_made_kept_as_a_secret_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "tokens.json"
    tokens = TokenFile(path)
    assert not tokens
    anna, bert = tokens.add("anna", Role.OPERATOR), tokens.add("bert", Role.VIEWER)
    assert anna != bert and len(anna) >= 40
    assert anna not in path.read_text() and bert not in path.read_text()
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
    again = TokenFile(path)
    assert again.roles() == {"anna": Role.OPERATOR, "bert": Role.VIEWER}
    answer = answer_to(secret_of(bert, again.salt), "challenge")
    assert matching(again.pairs(), "challenge", answer) == Identity("bert", Role.VIEWER)
    assert matching(again.pairs(), "another", answer) is None
    again.remove("bert")
    assert matching(TokenFile(path).pairs(), "challenge", answer) is None


def test_bad_names_and_files_are_told(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path / "tokens.json")
    tokens.add("anna", Role.ADMIN)
    for name in ("", "a b", "../x", "anna"):
        with pytest.raises(ConfigError):
            tokens.add(name, Role.ADMIN)
    with pytest.raises(ConfigError, match="there is no token 'carl'"):
        tokens.remove("carl")
    (tmp_path / "tokens.json").write_text(json.dumps({"salt": "x", "tokens": {"a": {"role": "king", "secret": "y"}}}))
    with pytest.raises(ConfigError, match="no file of tokens"):
        TokenFile(tmp_path / "tokens.json")
    if os.name == "posix":
        (tmp_path / "tokens.json").chmod(0o644)
        with pytest.raises(ConfigError, match="others can read it"):
            TokenFile(tmp_path / "tokens.json")


def test_the_command_line_makes_lists_and_removes_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["control", "token", "add", "phone", "--role", "viewer"]) == 0
    token = capsys.readouterr().out.strip()
    assert tokens_path().exists() and token not in tokens_path().read_text()
    assert main(["control", "token", "list"]) == 0
    assert capsys.readouterr().out.split() == ["phone", "viewer"]
    assert main(["control", "token", "add", "phone"]) == 1
    assert main(["control", "token", "remove", "phone"]) == 0
    assert not TokenFile()


def test_failures_lock_out_for_longer_each_time() -> None:
    lockout = Lockout()
    for _ in range(FREE):
        assert lockout.wait_s("10.0.0.1", 0.0) == 0.0
        lockout.failed("10.0.0.1", 0.0)
    waits = []
    for _ in range(12):
        waits.append(lockout.wait_s("10.0.0.1", 0.0))
        lockout.failed("10.0.0.1", 0.0)
    assert waits[:4] == [1.0, 2.0, 4.0, 8.0] and waits[-1] == LONGEST_S
    assert lockout.wait_s("10.0.0.2", 0.0) == 0.0
    assert lockout.wait_s("10.0.0.1", LONGEST_S) == 0.0
    lockout.succeeded("10.0.0.1")
    assert lockout.wait_s("10.0.0.1", 0.0) == 0.0


def test_an_ipv6_network_counts_as_one_and_old_failures_are_forgotten() -> None:
    lockout = Lockout()
    for i in range(FREE):
        lockout.failed(f"2001:db8::{i + 1:x}", 0.0)
    assert lockout.wait_s("2001:db8::ffff", 0.0) > 0
    assert lockout.wait_s("2001:db8:0:1::1", 0.0) == 0.0
    lockout.failed("2001:db8::1", FORGET_S + 1)
    assert lockout.wait_s("2001:db8::1", FORGET_S + 1) == 0.0


def test_lockout_memory_is_bounded() -> None:
    lockout = Lockout()
    for i in range(ADDRESSES + 100):
        lockout.failed(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", 0.0)
    assert len(lockout._failures) == ADDRESSES

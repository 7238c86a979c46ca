"""`rtvc control`: tokens, the protocol's documents, and the OSC and MIDI bridges."""

from __future__ import annotations

import argparse
import os
import sys

from .client import DEFAULT_URL
from .wire import Role


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rtvc control` to parser."""
    parts = parser.add_subparsers(dest="part", metavar="PART", required=True)
    token = parts.add_parser("token", help="who may connect, with which role")
    actions = token.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a token and show it once")
    add.add_argument("name", metavar="NAME", help="of the person or program it is for")
    add.add_argument("--role", choices=[role.word for role in Role], default=Role.OPERATOR.word,
                     help="viewer watches, operator plays, admin also sets up (operator)")  # fmt: skip
    actions.add_parser("list", help="show names and roles")
    actions.add_parser("remove", help="take a token back").add_argument("name", metavar="NAME")
    parts.add_parser("docs", help="print the protocol as Markdown")
    osc = parts.add_parser("osc", help="pass on Open Sound Control messages")
    osc.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS", help="where to listen (this machine only)")
    osc.add_argument("--port", type=int, default=9000, metavar="PORT", help="UDP port (9000)")
    midi = parts.add_parser("midi", help="play MIDI controllers, or bind one")
    midi.add_argument("--input", metavar="NAME", help="part of the MIDI input's name (the first there is)")
    midi.add_argument("--learn", metavar="TARGET", help="bind what you touch to PARAM, mute, panic, preset:NAME")
    for bridge in (osc, midi):
        bridge.add_argument("--url", default=os.environ.get("RTVC_URL", DEFAULT_URL), help=f"server ({DEFAULT_URL})")
        bridge.add_argument("--token", default=os.environ.get("RTVC_TOKEN"), help="if it needs one (or RTVC_TOKEN)")
        bridge.add_argument("--fingerprint", metavar="SHA256", help="of the certificate of a wss:// server")


def run(args: argparse.Namespace) -> int:
    """Do what the command line asks; return the exit code. Raises ConfigError and ControlError."""
    {"token": _token, "docs": _docs, "osc": _osc, "midi": _midi}[args.part](args)
    return 0


def _token(args: argparse.Namespace) -> None:
    from .tokens import TokenFile

    tokens = TokenFile()
    if args.action == "add":
        print(tokens.add(args.name, Role[args.role.upper()]))
        print("This token is shown only now. A server that runs knows it after its next start.", file=sys.stderr)
    elif args.action == "remove":
        tokens.remove(args.name)
    else:
        for name, role in tokens.roles().items():
            print(f"{name:<24} {role.word}")


def _docs(args: argparse.Namespace) -> None:
    from .documents import markdown

    print(markdown(), end="")


def _osc(args: argparse.Namespace) -> None:
    from .client import Control
    from .osc import serve

    with Control(args.url, args.token, fingerprint=args.fingerprint) as control:
        serve(control, args.bind, args.port)


def _midi(args: argparse.Namespace) -> None:
    from .client import Control
    from .midi import learn, load_bindings, open_input, play, save_bindings

    bindings = load_bindings()
    with open_input(args.input) as messages:
        if args.learn:
            print("touch the controller or key", file=sys.stderr)
            save_bindings(learn(messages, bindings, args.learn))
            return
        with Control(args.url, args.token, fingerprint=args.fingerprint) as control:
            play(messages, bindings, control)

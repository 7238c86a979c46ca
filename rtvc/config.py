"""Settings: one TOML file in the place the platform keeps such files, and the folder of the user's presets beside it.

```toml
[devices]
capture = "USB"          # part of a device's name; the system's default if absent
playback = "Headphones"  # only used with virtual_mic = false
host = "JACK"            # host API; the best one present if absent
virtual_mic = true

[audio]
rate_hz = 48000
block_frames = 256
max_age_ms = 60          # how late sound may be beyond the voice's own delay; 60, or 80 for a neural voice, if absent

[voice]
preset = "feminine"
latency = "clear"        # of a neural voice: fast or clear

[control]
enabled = true           # remote control while live
port = 4466
bind = "127.0.0.1"       # any other address needs a token and TLS
bypass = false           # whether clients may let the own voice through; if absent, only if it is the first sound
recordings = "/path"     # folder; your music folder if absent
certificate = "/path"    # PEM files for TLS; made on demand if absent
key = "/path"

[flight]
recorder = true          # keep the last minute in memory, for `rtvc ctl flight`
crash_sound = false      # whether what is saved after a crash holds sound; its timings are saved in any case

[monitor]
on = false               # hear in the headphones what the virtual microphone carries (PulseAudio, PipeWire)
level_db = 0             # -60 to 12; the call does not change with it
device = "default"       # the system's own output, or the id of one (rtvc devices)
```

Every key may be absent. A key that does not exist, or a value out of range, is an error that says what is allowed.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import platformdirs

RATES_HZ = (8_000, 192_000)
BLOCKS_FRAMES = (16, 8_192)
MAX_AGES_MS = (20, 250)
PORTS = (0, 65_535)
MONITOR_DB = (-60, 12)

TomlValue = str | bool | int | float


class ConfigError(Exception):
    """A settings or preset file cannot be used; the message names the file, the key and what is allowed."""


@dataclass(frozen=True)
class Devices:
    """Which devices to use; None is the platform's own choice."""

    capture: str | None = None
    playback: str | None = None
    host: str | None = None
    virtual_mic: bool = True


@dataclass(frozen=True)
class MonitorSettings:
    """What the monitor starts as; device is the id of an output."""

    on: bool = False
    level_db: float = 0.0
    device: str = "default"

    def __post_init__(self) -> None:
        low, high = MONITOR_DB
        if not low <= self.level_db <= high:
            raise ValueError(f"monitor.level_db = {self.level_db:g}: must lie in {low}..{high}")


@dataclass(frozen=True)
class Audio:
    """How the devices are opened."""

    rate_hz: int = 48_000
    block_frames: int = 256
    max_age_ms: int | None = None

    def __post_init__(self) -> None:
        for name, value, (low, high) in (
            ("audio.rate_hz", self.rate_hz, RATES_HZ),
            ("audio.block_frames", self.block_frames, BLOCKS_FRAMES),
            ("audio.max_age_ms", self.max_age_ms, MAX_AGES_MS),
        ):
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name} = {value}: must lie in {low}..{high}")


@dataclass(frozen=True)
class Voice:
    """What the voice starts as."""

    preset: str = "natural"
    latency: str = "clear"

    def __post_init__(self) -> None:
        if self.latency not in ("fast", "clear"):
            raise ValueError(f"voice.latency = {self.latency!r}: write fast or clear")


@dataclass(frozen=True)
class Control:
    """Remote control while live; port 0 is any free one."""

    enabled: bool = True
    port: int = 4466
    bind: str = "127.0.0.1"
    bypass: bool | None = None
    recordings: str | None = None
    certificate: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        low, high = PORTS
        if not low <= self.port <= high:
            raise ValueError(f"control.port = {self.port}: must lie in {low}..{high}")


@dataclass(frozen=True)
class FlightSettings:
    """What the flight recorder keeps in memory, and what a crash writes to disk without being asked."""

    recorder: bool = True
    crash_sound: bool = False


@dataclass(frozen=True)
class Settings:
    """All settings, each at its default where the file says nothing."""

    devices: Devices = field(default_factory=Devices)
    audio: Audio = field(default_factory=Audio)
    voice: Voice = field(default_factory=Voice)
    control: Control = field(default_factory=Control)
    monitor: MonitorSettings = field(default_factory=MonitorSettings)
    flight: FlightSettings = field(default_factory=FlightSettings)


_Table = type[Devices] | type[MonitorSettings] | type[Audio] | type[Voice] | type[Control] | type[FlightSettings]
_TABLES: Mapping[str, _Table] = {
    "devices": Devices,
    "audio": Audio,
    "voice": Voice,
    "control": Control,
    "flight": FlightSettings,
    "monitor": MonitorSettings,
}
_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "str": (str, "text"),
    "str | None": (str, "text"),
    "int": (int, "a whole number"),
    "int | None": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "bool": (bool, "true or false"),
    "bool | None": (bool, "true or false"),
}


def config_folder() -> Path:
    """Return the folder that holds config.toml and presets/; it need not exist."""
    return Path(platformdirs.user_config_path("rtvc", appauthor=False))


def config_path() -> Path:
    """Return the path of the settings file; it need not exist."""
    return config_folder() / "config.toml"


def presets_folder() -> Path:
    """Return the folder of the user's presets; it need not exist."""
    return config_folder() / "presets"


def load_settings(path: Path | None = None) -> Settings:
    """Return the settings of path (the platform's place if None), defaults if there is no such file.

    Raises ConfigError.
    """
    path = config_path() if path is None else path
    if not path.exists():
        return Settings()
    content = read_toml(path)
    _refuse_unknown(path, content, _TABLES, "")
    tables: dict[str, Any] = {}
    for name, table in _TABLES.items():
        given = content.get(name, {})
        if not isinstance(given, dict):
            raise ConfigError(f"{path}: {name} must be a table: write [{name}]")
        kinds = {entry.name: str(entry.type) for entry in fields(table)}
        _refuse_unknown(path, given, kinds, f"{name}.")
        for key, value in given.items():
            kind, words = _KINDS[kinds[key]]
            if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
                raise ConfigError(f"{path}: {name}.{key} = {value!r}: must be {words}")
        try:
            tables[name] = table(**given)
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from None
    return Settings(**tables)


def _refuse_unknown(path: Path, given: Mapping[str, object], known: Mapping[str, object], prefix: str) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1) or list(known)
            raise ConfigError(f"{path}: there is no setting {prefix}{key}; did you mean {', '.join(near)}?")


def settings_toml(settings: Settings) -> str:
    """Return the settings as the text of a settings file, without those that are None."""
    tables = []
    for name, table in asdict(settings).items():
        lines = [f"{key} = {toml_value(value)}" for key, value in table.items() if value is not None]
        tables.append("\n".join([f"[{name}]", *lines]))
    return "\n\n".join(tables) + "\n"


def save_setting(table: str, key: str, value: TomlValue, path: Path | None = None) -> Path:
    """Put one setting into the settings file, all else in it as it is; return the file's path.

    Raises ConfigError if the file cannot be read or written.
    """
    path = config_path() if path is None else path
    load_settings(path)
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    line = f"{key} = {toml_value(value)}"
    headers = [i for i, text in enumerate(lines) if text.split("#")[0].strip() == f"[{table}]"]
    if not headers:
        lines += [*([""] if lines else []), f"[{table}]", line]
    else:
        begin = headers[0] + 1
        end = next((i for i in range(begin, len(lines)) if lines[i].lstrip().startswith("[")), len(lines))
        same = [i for i in range(begin, end) if lines[i].split("=")[0].strip().strip("\"'") == key]
        if same:
            _, mark, comment = lines[same[0]].partition("#")
            lines[same[0]] = f"{line}  {mark}{comment}".rstrip()
        else:
            lines.insert(begin, line)
    write_text_atomically(path, "\n".join(lines) + "\n")
    return path


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file. Raises ConfigError naming the file, the line and the fault."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from None


def toml_value(value: TomlValue) -> str:
    """Return value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = "".join(_escape(char) for char in value)
        return f'"{escaped}"'
    return repr(value)


def _escape(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else f"\\U{ord(char):08x}"


def write_text_atomically(path: Path, text: str) -> None:
    """Write text to path in one step; see `write_atomically`. Raises UnicodeEncodeError if UTF-8 has no form for it."""
    write_atomically(path, text.encode())


def write_atomically(path: Path, data: bytes, private: bool = False) -> None:
    """Write data to path so that a reader sees the old file or the new one, never a part; private: only its owner.

    The folder is made if it is missing. Raises ConfigError if it cannot be written.
    """
    part = path.parent / f".{secrets.token_hex(6)}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if private else 0o666)
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)

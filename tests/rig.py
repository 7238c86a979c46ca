"""Private audio servers for tests: PulseAudio, PipeWire and jackd without a sound card, each in a folder of its own.

`pulseaudio()`, `pipewire()` and `jackd()` are context managers that give a `Server`. Its `env` is the environment for
every program that shall talk to it; nothing outside that folder is read or changed. The fake microphone is a
null sink `hwmic` (play into it) whose monitor is offered as source `fake-mic`. All processes die with the test,
killed or not: each is started with a parent-death signal.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 48_000
APT_PACKAGE = {
    "pulseaudio": "pulseaudio",
    "pactl": "pulseaudio-utils",
    "pipewire": "pipewire",
    "pipewire-pulse": "pipewire-pulse",
    "wireplumber": "wireplumber",
    "dbus-daemon": "dbus",
    "jackd": "jackd2",
    "jack_wait": "jackd2",
    "strace": "strace",
}
_FOREIGN = ("PULSE_", "PIPEWIRE_", "JACK_", "DBUS_SESSION_BUS_ADDRESS", "XDG_")  # would lead clients elsewhere


def require(*programs: str) -> None:
    """Raise FileNotFoundError naming the apt package of the first program that is missing."""
    for program in programs:
        if shutil.which(program) is None:
            raise FileNotFoundError(f"{program} is missing: apt-get install {APT_PACKAGE[program]}")


@dataclass
class Server:
    """A running private server: its kind ("pulse", "pipewire" or "jackd"), folder, environment and processes."""

    kind: str
    folder: Path
    env: dict[str, str]
    fifo: int = 0  # SCHED_FIFO priority of servers, players and recorders, so that a busy machine does not show
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    start: Callable[[], None] = field(default=lambda: None, repr=False)  # start the server, again after kill()

    def spawn(
        self, *command: str, stdin: int = subprocess.DEVNULL, stdout: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program in this server's environment that is killed with the test; its words go to a log."""
        priority = ["chrt", "-f", str(self.fifo)] if self.fifo else []
        with open(self.folder / f"{Path(command[0]).name}.log", "ab") as log:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *priority, *command],
                env=self.env,
                stdin=stdin,
                stdout=log if stdout is None else stdout,
                stderr=log,
                bufsize=0,
            )
        self.processes.append(process)
        return process

    def run(self, *command: str) -> str:
        """Run a program in this server's environment and return what it prints; raise if it fails."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout.strip()

    @contextlib.contextmanager
    def python(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run our own Python in this server's environment, with pipes for its lines; killed at the end."""
        with (
            open(self.folder / "python.log", "ab") as log,
            subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", sys.executable, *arguments],
                env=self.env,
                cwd=Path(__file__).parents[1],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    @contextlib.contextmanager
    def echo(self, capture: str, playback: str, seconds: float, *wishes: int) -> Iterator[subprocess.Popen[str]]:
        """Run tests.echo between two devices; inside, sound is running. wishes: rate_hz, block_frames, prime."""
        words = (capture, playback, str(seconds), *map(str, wishes))
        with self.python("-m", "tests.echo", *words) as process:
            assert process.stdout is not None
            if process.stdout.readline() != "running\n":
                raise RuntimeError((self.folder / "python.log").read_text()[-2000:])
            yield process

    def names(self, what: str) -> list[str]:
        """Return the names of all "sources", "sinks" or "modules"."""
        return [line.split("\t")[1] for line in self.run("pactl", "list", "short", what).splitlines()]

    def plug_in(self, name: str = "fake-mic", description: str = "") -> str:
        """Plug in the fake microphone that hears what is played into sink hwmic; return its module's number."""
        mono = ["channels=1", "channel_map=mono", "master_channel_map=mono"]
        return self.run(
            *("pactl", "load-module", "module-remap-source", "master=hwmic.monitor", f"source_name={name}"),
            *(mono if self.kind == "pipewire" else []),
            f"source_properties=device.description={description or name}",
        )

    def unplug(self, module: str) -> None:
        """Pull a fake device out."""
        self.run("pactl", "unload-module", module)

    def add_sink(self, name: str, channels: int = 1, rate_hz: int = RATE_HZ) -> str:
        """Add a null sink (a loudspeaker nobody hears); return its module's number."""
        layout = ["channels=1", "channel_map=mono"] if channels == 1 else [f"channels={channels}"]
        # without norewinds PulseAudio's null sink has 2 s of latency
        quick = ["norewinds=1", "format=float32le"] if self.kind == "pulse" else []
        return self.run(
            *("pactl", "load-module", "module-null-sink", f"sink_name={name}", f"rate={rate_hz}"),
            *layout,
            *quick,
            f"sink_properties=device.description={name}",
        )

    def play(self, x: NDArray[np.float32], sink: str = "hwmic") -> subprocess.Popen[bytes]:
        """Play x (float32 mono at 48 kHz) into a sink; return the player, which ends with the sound."""
        path = self.folder / f"play-{time.monotonic_ns()}.raw"
        x.astype(np.float32).tofile(path)
        layout = ["--format=float32le", f"--rate={RATE_HZ}", "--channels=1", "--raw", "--latency-msec=200"]
        return self.spawn("pacat", "--playback", f"--device={sink}", *layout, str(path))

    def kill(self) -> None:
        """End everything started here, last first, and wait for it."""
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        self.processes.clear()


def stall(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Stop a process for so long."""
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGCONT)


class Recorder:
    """Record a Pulse source (mono, 48 kHz) in a thread and note when each chunk arrived.

    Use as a context; afterwards `x` is float32[n], and `arrival_s(i)` the time.monotonic() at which sample i came.
    """

    def __init__(self, server: Server, source: str) -> None:
        layout = ["--format=float32le", f"--rate={RATE_HZ}", "--channels=1", "--raw", "--latency-msec=5"]
        self._process = server.spawn("parec", f"--device={source}", *layout, stdout=subprocess.PIPE)
        self._chunks: list[bytes] = []
        self._times: list[float] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.x = np.zeros(0, np.float32)
        self._offset_s = 0.0

    def _read(self) -> None:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while chunk := os.read(descriptor, 65536):
            self._times.append(time.monotonic())
            self._chunks.append(chunk)

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + 5
        while not self._times:
            if time.monotonic() > deadline:
                raise TimeoutError("the recorder got no sound within 5 s")
            time.sleep(0.01)
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._thread.join()
        raw = b"".join(self._chunks)
        self.x = np.frombuffer(raw[: len(raw) // 4 * 4], np.float32)
        ends = np.cumsum([len(chunk) for chunk in self._chunks]) / 4
        late = np.array(self._times) - ends / RATE_HZ
        # the typical chunk, past the start-up burst, tells when sample 0 would have arrived
        self._offset_s = float(np.median(late[len(late) // 4 :])) if len(late) else 0.0

    def arrival_s(self, sample: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the arrival times of samples by the recording's steady clock."""
        return sample / RATE_HZ + self._offset_s


def _folder_env(folder: Path) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    for name in ("runtime/pulse", "config/pipewire/pipewire.conf.d", "state/pulse", "cache"):
        (folder / name).mkdir(parents=True)
    os.chmod(folder / "runtime", 0o700)
    env["XDG_RUNTIME_DIR"] = str(folder / "runtime")
    env["XDG_CONFIG_HOME"] = str(folder / "config")
    env["XDG_STATE_HOME"] = str(folder / "state")
    env["PULSE_SERVER"] = f"unix:{folder}/runtime/pulse/native"
    env["PULSE_COOKIE"] = str(folder / "state/pulse/cookie")
    env["PULSE_MEMPOOL_DISABLE"] = "1"  # a player killed with shared memory can take PulseAudio 16 with it
    env["JACK_DEFAULT_SERVER"] = f"rtvc-{folder.name}"  # finds no jackd but the one of this folder
    env["JACK_NO_START_SERVER"] = env["JACK_NO_AUDIO_RESERVATION"] = "1"
    return env


def _wait_until(ready: str, server: Server, *command: str) -> None:
    deadline = time.monotonic() + 10
    while True:
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            if ready in server.run(*command):
                return
        if time.monotonic() > deadline:
            logs = "\n".join(f"{p.name}: {p.read_text(errors='replace')[-2000:]}" for p in server.folder.glob("*.log"))
            raise TimeoutError(f"no {ready!r} from {' '.join(command)} within 10 s\n{logs}")
        time.sleep(0.05)


@contextlib.contextmanager
def _server(kind: str, fifo: int = 0) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="rtvc-", ignore_cleanup_errors=True) as name:
        server = Server(kind, Path(name), _folder_env(Path(name)), fifo)
        try:
            yield server
        finally:
            server.kill()


def _alsa_config() -> str:
    """ALSA devices fake_mic, rtvc_sink (two devices) and loop (one device) that lead to the Pulse server."""
    pcms = "".join(
        f'pcm.{name} {{ type pulse device "{device}" hint {{ show on description "{name}" }} }}\n'
        for name, device in (("fake_mic", "fake-mic"), ("rtvc_sink", "rtvc-sink"))
    )
    loop = (
        'pcm.loop { type asym capture.pcm "fake_mic" playback.pcm "rtvc_sink" hint { show on description "loop" } }\n'
    )
    return f"</usr/share/alsa/alsa.conf>\n{pcms}{loop}"


def _start_pulseaudio(server: Server) -> None:
    folder = server.folder
    (folder / "asound.conf").write_text(_alsa_config())
    server.env["ALSA_CONFIG_PATH"] = str(folder / "asound.conf")
    (folder / "rig.pa").write_text("load-module module-native-protocol-unix auth-anonymous=1\n")
    (folder / "daemon.conf").write_text(
        "flat-volumes = no\ndefault-sample-rate = 48000\ndefault-sample-format = float32le\n"
        "realtime-scheduling = yes\nrealtime-priority = 50\nrlimit-rttime = -1\n"
    )
    server.env["PULSE_CONFIG"] = str(folder / "daemon.conf")
    server.env["PULSE_STATE_PATH"] = str(folder / "state/pulse")
    server.spawn(
        *("pulseaudio", "-n", f"--file={folder}/rig.pa", "--daemonize=no", "--use-pid-file=no"),
        *("--disallow-exit=no", "--exit-idle-time=-1", "--log-target=stderr"),
    )
    _wait_until("Server Name: pulseaudio", server, "pactl", "info")
    server.add_sink("hwmic")
    server.add_sink("speakers", channels=2)
    server.run("pactl", "set-default-sink", "speakers")


def _start_pipewire(server: Server, quantum: int) -> None:
    folder = server.folder
    (folder / "config/pipewire/pipewire.conf.d/rig.conf").write_text(
        f"context.properties = {{ default.clock.rate = {RATE_HZ} default.clock.quantum = {quantum} "
        "default.clock.min-quantum = 32 default.clock.max-quantum = 1024 }\n"
    )
    for socket in ("bus", "pipewire-0"):  # left by a server that was killed
        (folder / "runtime" / socket).unlink(missing_ok=True)
    bus = f"unix:path={folder}/runtime/bus"
    server.spawn("dbus-daemon", "--session", f"--address={bus}", "--nofork", "--nopidfile")
    _wait_until("bus", server, "ls", str(folder / "runtime"))
    server.env["DBUS_SESSION_BUS_ADDRESS"] = bus
    server.env["PIPEWIRE_RUNTIME_DIR"] = str(folder / "runtime")
    server.spawn("pipewire")
    _wait_until("pipewire-0", server, "ls", str(folder / "runtime"))
    server.spawn("wireplumber")
    server.spawn("pipewire-pulse")
    _wait_until("on PipeWire", server, "pactl", "info")
    _wait_until("WirePlumber", server, "pactl", "list", "clients")
    server.add_sink("hwmic")
    server.add_sink("speakers", channels=2)
    server.run("pactl", "set-default-sink", "speakers")


@contextlib.contextmanager
def pulseaudio(fifo: int = 0) -> Iterator[Server]:
    """Run a private PulseAudio with sinks hwmic and speakers, and nothing plugged in; fifo: see Server."""
    require("pulseaudio", "pactl")
    with _server("pulse", fifo) as server:
        server.start = functools.partial(_start_pulseaudio, server)
        server.start()
        yield server


@contextlib.contextmanager
def pipewire(quantum: int = 256, fifo: int = 0) -> Iterator[Server]:
    """Run a private PipeWire with WirePlumber and pipewire-pulse, sinks hwmic and speakers, nothing plugged in."""
    require("dbus-daemon", "pipewire", "pipewire-pulse", "wireplumber", "pactl")
    with _server("pipewire", fifo) as server:
        server.start = functools.partial(_start_pipewire, server, quantum)
        server.start()
        yield server


@contextlib.contextmanager
def _jack_server_name() -> Iterator[str]:
    """Give one of four names that no other test holds.

    jackd keeps eight slots for a whole machine, and only a server of the same name takes over a killed one's.
    """
    import fcntl  # not on Windows

    for name in ("rtvc-test-1", "rtvc-test-2", "rtvc-test-3", "rtvc-test-4"):
        with open(Path(tempfile.gettempdir()) / f"{name}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield name
            return
    raise RuntimeError("four jackd tests are running already")


def _forget_crashed_jackd() -> None:
    """Remove the database that killed JACK programs may have left half made, unless a jackd is using it."""
    running = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            running.append(path.read_text().strip())
    if "jackd" not in running:
        shutil.rmtree(f"/dev/shm/jack_db-{os.getuid()}", ignore_errors=True)


@contextlib.contextmanager
def jackd(period_frames: int = 256) -> Iterator[Server]:
    """Run a private jackd on its dummy driver (48 kHz, one port each way)."""
    require("jackd", "jack_wait")
    _forget_crashed_jackd()
    with _jack_server_name() as name, _server("jackd") as server:
        server.env["JACK_DEFAULT_SERVER"] = name
        dummy = ["-d", "dummy", "-r", str(RATE_HZ), "-p", str(period_frames), "-C", "1", "-P", "1"]
        server.spawn("jackd", "-n", name, "-R", "-P", "70", "-m", *dummy)
        _wait_until("is available", server, "jack_wait", "-s", name, "-w", "-t", "5")
        try:
            yield server
        finally:
            server.kill()
            for left in Path("/dev/shm").glob(f"jack*_{name}_*"):  # a killed server or client does not tidy up
                left.unlink(missing_ok=True)

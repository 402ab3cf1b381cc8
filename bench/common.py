"""Shared by the benches: processes pinned to cores, wrk, nginx, the server, tables.

Needs only what Debian has: python3, wrk, nginx (the plain `nginx` package: its build has
http_dav_module), and the release binary and examples of this repository.
"""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HERE = os.path.join(ROOT, "bench")
SERVER_CORE, LOAD_CORE = 0, 1
MIB = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")
EXAMPLES = ["--example", "seed", "--example", "load", "--example", "render_cost"]
LISTS = "/contacts/v4/attachments"


class DidNotRun(Exception):
    """A part of a bench could not be run; the message says which."""


def main(run, need=None):
    """Runs a bench: a missed goal is only reported, a part that did not run is a failure."""
    try:
        (need or need_tools)()
        run()
    except DidNotRun as problem:
        sys.exit(f"{sys.argv[0]}: did not run: {problem}")


def need_tools():
    for tool, package in [("wrk", "wrk"), ("nginx", "nginx"), ("cargo", "a Rust toolchain")]:
        if not shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin"):
            raise DidNotRun(f"{tool} is missing: install {package}")
    if os.cpu_count() < 2:
        raise DidNotRun("the server and the load need a core each")
    # Built separately, so that the examples' dependencies do not change the program under test.
    for what in [["--bin", "dossier"], EXAMPLES]:
        command = ["cargo", "build", "--release", *what]
        if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
            raise DidNotRun("cargo build --release failed")


def binary(name):
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    return os.path.join(target, "release", name)


def on_core(*cores):
    """For Popen: pins the new process to cores before it runs."""
    return lambda: os.sched_setaffinity(0, cores)


@contextlib.contextmanager
def folder(base=None):
    """A folder on the disk under test. /tmp may be a tmpfs, so BENCH_DIR can name another folder."""
    path = tempfile.mkdtemp(prefix="dossier-bench-", dir=base or os.environ.get("BENCH_DIR"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A server process started by this bench, and the resources it used."""

    def __init__(self, command, name, cores=(SERVER_CORE,), **options):
        self.name = name
        self.child = subprocess.Popen(command, preexec_fn=on_core(*cores), **options)

    def cpu_seconds(self):
        with open(f"/proc/{self.child.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_mib(self, field):
        with open(f"/proc/{self.child.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) / 1024
        raise DidNotRun(f"{self.name} has gone")

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


def wait_for_200(port, path, headers, process):
    """Seconds until the first 200."""
    start = time.perf_counter()
    while time.perf_counter() - start < 10:
        if process.child.poll() is not None:
            raise DidNotRun(f"{process.name} ended early")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path, headers=headers)
            if connection.getresponse().status == 200:
                return time.perf_counter() - start
        except OSError:
            time.sleep(0.0005)
        finally:
            connection.close()
    raise DidNotRun(f"{process.name} does not answer")


class Dossier(Process):
    """The server under test, on core 0 by default, with HTTPS on as by default."""

    def __init__(self, data, settings=(), cores=(SERVER_CORE,)):
        self.port, self.data = free_port(), data
        command = [binary("dossier"), "serve", "--data", data, "--ready-json",
                   "--listen", f"127.0.0.1:{self.port}", "--listen-tls", "127.0.0.1:0",
                   # The scrub would report each seeded row, because they have no bytes.
                   "--set", "log=warn", "--set", "scrub_days=0"]
        for setting in settings:
            command += ["--set", setting]
        super().__init__(command, "dossier", cores, stdout=subprocess.PIPE, text=True)
        line = self.child.stdout.readline()
        if not line:
            raise DidNotRun("dossier did not start")
        self.ready = json.loads(line)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


class Nginx(Process):
    """nginx with one worker on core 0, and its own configuration, port and folder."""

    def __init__(self, root, work, extra="", default_type="application/octet-stream"):
        self.port = free_port()
        config = os.path.join(work, "nginx.conf")
        with open(os.path.join(HERE, "nginx.conf"), encoding="utf-8") as template:
            text = template.read()
        for name, value in [("WORK", work), ("PORT", str(self.port)), ("ROOT", root),
                            ("TYPE", default_type), ("EXTRA", extra)]:
            text = text.replace(f"@{name}@", value)
        with open(config, "w", encoding="utf-8") as file:
            file.write(text)
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        super().__init__([nginx, "-e", os.path.join(work, "error.log"), "-c", config], "nginx")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def running(process):
    try:
        yield process
    finally:
        process.stop()


def wrk(url, connections, seconds, headers=None, contacts=None, stride=1):
    """Runs wrk on core 1 and returns its figures. With `contacts`, requests that many in turn, or
    every `stride`th."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s",
               "-s", os.path.join(HERE, "wrk.lua")]
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    environment = dict(os.environ, BENCH_CONTACTS=str(contacts or ""),
                       BENCH_STRIDE=str(stride))
    done = subprocess.run(command + [url], env=environment, preexec_fn=on_core(LOAD_CORE),
                          capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise DidNotRun(f"wrk: {done.stdout}{done.stderr}")
    figures = json.loads(lines[-1])
    if figures["errors"]:
        raise DidNotRun(f"wrk: {figures['errors']} of {figures['requests']} requests failed")
    figures["per_second"] = figures["requests"] / figures["seconds"]
    return figures


def measured(process, url, connections, seconds, **options):
    """A short warm-up, then a run with the server's CPU time per request."""
    wrk(url, connections, 1, **options)
    before = process.cpu_seconds()
    figures = wrk(url, connections, seconds, **options)
    figures["cpu_us"] = (process.cpu_seconds() - before) * 1e6 / figures["requests"]
    figures["mib_per_second"] = figures["bytes"] / figures["seconds"] / MIB
    return figures


def load(base, count, connections, size, extra=()):
    """Runs our own upload client on core 1."""
    command = [binary("examples/load"), "--url", base, "--count", str(count),
               "--connections", str(connections), "--bytes", str(size), *extra]
    done = subprocess.run(command, preexec_fn=on_core(LOAD_CORE), capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        raise DidNotRun(f"load: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def median(runs, field):
    return statistics.median(run[field] for run in runs)


def table(title, heads, rows):
    """Prints a plain table: text aligned left, numbers right."""
    texts = [[cell if isinstance(cell, str) else number(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [heads, *texts]) for i in range(len(heads))]
    print(f"\n{title}")
    for row in [heads, ["-" * width for width in widths], *texts]:
        cells = [cell.ljust(width) if i == 0 else cell.rjust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]
        print("  " + "  ".join(cells).rstrip())
    sys.stdout.flush()


def number(value):
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}"

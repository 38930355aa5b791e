"""What a worker looks at before it joins anything: its directory, its port, its policy."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.commands.options import Failure
from streams.commands.worker import check_ports
from streams.plane.directory import DirectoryHeld, hold
from streams.plane.errors import StoreBroken
from streams.settings import Settings

HOLDER = (
    "import sys; from pathlib import Path; from streams.plane.directory import hold; "
    "hold(Path(sys.argv[1])); print('has it', flush=True); sys.stdin.read()"
)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that has the directory."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "has it\n"
        yield other
        other.kill()


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        """Passes."""
        self.now += seconds


def test_second_worker_on_a_directory_is_told_whose_it_is(holder: "subprocess.Popen[str]", tmp_path: Path) -> None:
    """It waits as long as a killed predecessor may take, then names the process."""
    clock = Clock()

    with pytest.raises(DirectoryHeld, match=f"in use by process {holder.pid}; .*REGULARS_DATA_DIR"):
        hold(tmp_path, clock=lambda: clock.now, sleep=clock.sleep)

    assert 10.0 <= clock.now < 11.0


def test_successor_of_a_killed_worker_has_its_directory_at_once(
    holder: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    """The lock ends with the process, however that ends; the file that stays means nothing."""

    def end(_: float) -> None:
        holder.kill()
        holder.wait()

    hold(tmp_path, sleep=end)
    hold(tmp_path, sleep=end)  # and again changes nothing

    assert (tmp_path / "worker.lock").read_text() == f"{os.getpid()}\n"


def test_directory_that_can_not_be_made_names_its_setting(tmp_path: Path) -> None:
    """A file is in its place."""
    (tmp_path / "file").touch()

    with pytest.raises(StoreBroken, match="REGULARS_DATA_DIR"):
        hold(tmp_path / "file" / "data")


def test_web_port_that_is_taken_is_told_before_the_group_is_joined(free_port: int) -> None:
    """A worker that finds it out later has moved everybody's partitions for nothing."""
    check_ports(Settings(web_port=free_port))
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port))
        other.listen()

        with pytest.raises(Failure) as caught:
            check_ports(Settings(web_port=free_port))

    assert str(caught.value) == f"web port {free_port}: address already in use; set REGULARS_WEB_PORT"
    check_ports(Settings(web_port=free_port))
    check_ports(Settings(web_port=0, web_host="no host"))


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_web_address_that_is_not_this_hosts_names_its_setting(host: str, free_port: int) -> None:
    """192.0.2.1 is nobody's, by RFC 5737."""
    with pytest.raises(Failure, match=f"web address {host}: .*; set REGULARS_WEB_HOST"):
        check_ports(Settings(web_port=free_port, web_host=host))


@pytest.mark.parametrize(
    ("variable", "value", "code", "said"),
    [
        (
            "REGULARS_POLICY",
            "/nope.yaml",
            1,
            "/nope.yaml: No such file or directory; correct the file or REGULARS_POLICY",
        ),
        ("REGULARS_WEB_HOST", "192.0.2.1", 1, "set REGULARS_WEB_HOST"),
        ("REGULARS_DATA_DIR", "/dev/null/data", 70, "set REGULARS_DATA_DIR"),
    ],
)
def test_worker_that_can_not_begin_says_so_in_one_line(
    variable: str, value: str, code: int, said: str, tmp_path: Path, free_port: int
) -> None:
    """No traceback; nothing has been asked of Kafka."""
    given = {
        "REGULARS_DATA_DIR": str(tmp_path),
        "REGULARS_CACHE_DIR": str(tmp_path),
        "REGULARS_WEB_PORT": str(free_port),
        "REGULARS_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        variable: value,
    }

    told = subprocess.run(
        [sys.executable, "-m", "streams.cli", "worker"],
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert told.returncode == code
    assert told.stderr.count("\n") == 1
    assert said in told.stderr


def test_files_of_a_worker_are_its_owners_alone(tmp_path: Path, free_port: int) -> None:
    """Whatever the umask of its surroundings is; a folder that others could read until now is closed to them."""
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    given = {
        "REGULARS_DATA_DIR": str(data),
        "REGULARS_CACHE_DIR": str(tmp_path / "cache"),
        "REGULARS_WEB_PORT": str(free_port),
        "REGULARS_WEB_HOST": "192.0.2.1",  # where the start ends, after the folder was taken
    }

    subprocess.run(
        [sys.executable, "-m", "streams.cli", "worker"],
        env=os.environ | given,
        capture_output=True,
        check=False,
        umask=0o022,
        timeout=120,
    )

    assert (data / "worker.lock").exists()
    assert not any(path.stat().st_mode & 0o077 for path in (data, *data.rglob("*")))


def test_what_a_command_writes_is_its_owners_alone(tmp_path: Path) -> None:
    """An export, a log, a report: `main` sets the umask before any command runs."""
    code = (
        "import sys, click; from streams.cli import main; from pathlib import Path\n"
        "main.add_command(click.Command('write', callback=lambda: Path(sys.argv[2]).write_text('x')))\n"
        "main.get_command = lambda ctx, name: main.commands[name]\n"
        "main(['write'], prog_name='regulars')"
    )
    file = tmp_path / "export"

    subprocess.run([sys.executable, "-c", code, "-", str(file)], check=True, umask=0o022, timeout=120)

    assert file.stat().st_mode & 0o777 == 0o600

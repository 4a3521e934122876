"""The console script: dispatch, and errors in one line."""

import os
import signal
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from sdcpc_core import cli

PROGRAM = "import sys; from sdcpc_core.cli import main; sys.exit(main())"
FAKE_COMMANDS = '''
import errno
import pathlib
import sys
from sdcpc_core.errors import InputError

def echo(argv):
    """Repeat the arguments.

    More is said by ``echo --help``.
    """
    print(argv)

def user_error(argv): raise InputError("drive.mp4 is not a video")
def interrupted(argv): raise KeyboardInterrupt
def no_lightning(argv): raise ModuleNotFoundError("No module named 'lightning'", name="lightning.pytorch")
def disk_full(argv): raise OSError(errno.ENOSPC, "No space left on device", "out.mp4")
def defect(argv): raise ModuleNotFoundError("No module named 'sdcpc_core.typo'", name="sdcpc_core.typo")
def other_os_error(argv): raise OSError(errno.EINVAL, "Invalid argument")
def usage_error(argv): sys.exit(2)
def patient(argv):
    import tempfile, time
    with tempfile.TemporaryDirectory(dir=argv[0]):
        print("ready", flush=True)
        time.sleep(30)
def endless(argv):
    while True:
        print("more")
'''


@pytest.fixture
def fake_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A second distribution whose commands fail in every way; returns its folder."""
    (tmp_path / "fake_commands.py").write_text(FAKE_COMMANDS)
    names = [line.split("(")[0].removeprefix("def ") for line in FAKE_COMMANDS.splitlines() if line.startswith("def ")]
    info = tmp_path / "fake-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: fake\nVersion: 1.0\n")
    lines = [f"[{cli.COMMAND_GROUP}]", *(f"{name} = fake_commands:{name}" for name in names)]
    lines.append("broken = no_such_module:broken")
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "fake_commands", raising=False)
    return tmp_path


@pytest.fixture
def sdcpc(fake_commands: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the console script in this process; returns status, output and errors."""

    def run(*argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sdcpc", *argv])
        status = cli.main()
        return status, *capsys.readouterr()

    return run


def test_passes_the_arguments_on(sdcpc):
    assert sdcpc("echo", "--help", "file") == (0, "['--help', 'file']\n", "")


@pytest.mark.parametrize("argv", [(), ("-h",), ("--help",)])
def test_help_lists_every_command_with_its_first_line(sdcpc, argv):
    status, out, err = sdcpc(*argv)
    assert (status, err) == (0, "")
    assert "\n  echo            Repeat the arguments.\n" in out
    assert "More is said" not in out
    assert "\n  broken" in out


def test_version_is_that_of_the_distribution(sdcpc):
    import sdcpc_core

    assert sdcpc("--version") == (0, f"sdcpc {sdcpc_core.__version__}\n", "")


def test_unknown_command_names_the_others(sdcpc):
    status, _, err = sdcpc("segmnt")
    assert status == 2
    assert err.startswith("sdcpc segmnt: error: no such command; there are: ")
    assert "echo, endless" in err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("user_error", "drive.mp4 is not a video"),
        ("no_lightning", "No module named 'lightning'; pip install '.[train]' in the checkout"),
        ("disk_full", "[Errno 28] No space left on device: 'out.mp4'"),
    ],
)
def test_what_the_user_can_fix_is_one_line(sdcpc, command, message):
    assert sdcpc(command) == (2, "", f"sdcpc {command}: error: {message}\n")


@pytest.mark.parametrize("command", ["defect", "other_os_error", "broken"])
def test_defects_keep_their_traceback(sdcpc, command):
    with pytest.raises((ImportError, OSError)):
        sdcpc(command)


def test_interrupt_is_silent(sdcpc):
    assert sdcpc("interrupted") == (130, "", "")


@pytest.mark.parametrize("ignored", [False, True], ids=["", "nohup"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminated_command_cleans_up(fake_commands, tmp_path, number, ignored):
    # Said either way: the tests themselves may run under nohup.
    inherited = f"import signal; signal.signal(signal.SIGHUP, signal.{'SIG_IGN' if ignored else 'SIG_DFL'});"
    (tmp_path / "work").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", inherited + PROGRAM, "patient", str(tmp_path / "work")],
        env=os.environ | {"PYTHONPATH": str(fake_commands)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        if ignored and number == signal.SIGHUP:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            process.send_signal(number := signal.SIGTERM)
    assert process.returncode == 128 + number
    assert list((tmp_path / "work").iterdir()) == []


def test_argparse_ends_a_command_itself(sdcpc):
    with pytest.raises(SystemExit, match="2"):
        sdcpc("usage_error")


def test_reader_of_a_pipe_may_leave(fake_commands):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "endless"],
        env=os.environ | {"PYTHONPATH": str(fake_commands)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "more\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_help_loads_no_command():
    program = "import sys; from sdcpc_core.cli import main; main(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program, "--help"], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("command", entry_points(group=cli.COMMAND_GROUP), ids=lambda command: command.name)
def test_installed_commands_say_what_they_do(command):
    assert cli.summary(command).endswith(".")
    assert callable(command.load())

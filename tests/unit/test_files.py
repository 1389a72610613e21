"""Files appear whole or not at all, and what a killed writer leaves behind goes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tokalign_helpers.basics.files import partial_of, remove_partials, replacing, sha256, write_text


def test_a_file_is_replaced_in_one_step_and_the_old_one_stays_readable_until_then(tmp_path):
    target = tmp_path / "a[1]*.txt"
    target.write_text("old")
    with replacing(target) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def break_off():
        with replacing(target) as partial:
            partial.write_text("half")
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        break_off()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_modes_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_a_killed_writer_leaves_a_partial_that_the_next_one_sweeps(tmp_path):
    target = tmp_path / "a.txt"
    code = (
        "import sys, time; from tokalign_helpers.basics.files import replacing\n"
        "with replacing(sys.argv[1]) as p:\n    p.write_text('half'); print('ready', flush=True); time.sleep(60)"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "ready\n"
    assert remove_partials(target) == []  # it is alive
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(list(tmp_path.iterdir())) == 1
    write_text(target, "whole")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_sweeping_leaves_other_targets_and_recent_partials_of_other_machines(tmp_path):
    target = tmp_path / "a"
    mine, foreign, old = (
        partial_of(tmp_path / "b"),
        tmp_path / ".a.else.1.0123abcd.partial",
        tmp_path / ".a.other.1.0123abcd.partial",
    )
    for file in (mine, foreign):
        file.write_text("")
    old.mkdir()
    (old / "inside").write_text("")
    os.utime(old, (time.time() - 90_000,) * 2)
    assert remove_partials(target) == [old]
    assert sorted(tmp_path.iterdir()) == sorted([mine, foreign])


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_where_nothing_can_be_written_is_said_in_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="cannot write .*: there is no folder .*nowhere$"):
        write_text(tmp_path / "nowhere" / "file.txt", "text")
    with pytest.raises(IsADirectoryError, match="cannot write .*: it is a folder"):
        write_text(tmp_path, "text")
    assert list(tmp_path.iterdir()) == []

"""Items of the cache: whole or not at all, made once."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from suture.source import cache


def test_an_item_is_made_once_and_then_returned(tmp_path: Path) -> None:
    made = []

    def make(path: Path) -> None:
        made.append(path)
        path.write_text("whole")

    for _ in range(2):
        assert cache.item(tmp_path / "item", make).read_text() == "whole"
    assert len(made) == 1


def test_a_make_that_fails_leaves_nothing_under_the_name_or_beside_it(tmp_path: Path) -> None:
    def make(path: Path) -> None:
        path.mkdir()
        (path / "half").touch()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.item(tmp_path / "item", make)
    assert [p.name for p in tmp_path.iterdir()] == [".item.lock"]


def test_a_killed_make_leaves_nothing_under_the_name_and_the_next_one_clears_it(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from suture.source import cache\n"
        "def make(path):\n path.mkdir(); (path / 'half').touch(); print('making', flush=True); time.sleep(60)\n"
        f"cache.item(Path({str(tmp_path / 'item')!r}), make)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    assert not (tmp_path / "item").exists()
    assert list(tmp_path.glob(".item.new-*"))
    cache.item(tmp_path / "item", lambda path: path.touch())
    assert sorted(p.name for p in tmp_path.iterdir()) == [".item.lock", "item"]


def test_a_shared_lock_keeps_out_only_who_wants_it_alone(tmp_path: Path) -> None:
    alone = threading.Event()

    def wait() -> None:
        with cache.locked(tmp_path / "x"):
            alone.set()

    with cache.locked(tmp_path / "x", shared=True), cache.locked(tmp_path / "x", shared=True):
        waiter = threading.Thread(target=wait)
        waiter.start()
        assert not alone.wait(0.2)
    assert alone.wait(10)
    waiter.join()


def test_two_processes_that_want_the_same_item_make_it_once(tmp_path: Path) -> None:
    program = (
        "import time; from pathlib import Path; from suture.source import cache\n"
        f"def make(path):\n open({str(tmp_path / 'count')!r}, 'a').write('x'); time.sleep(0.3); path.touch()\n"
        f"cache.item(Path({str(tmp_path / 'item')!r}), make)\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    start = time.monotonic()
    assert [p.wait() for p in both] == [0, 0]
    assert time.monotonic() - start < 30
    assert (tmp_path / "count").read_text() == "x"


def test_a_scratch_folder_goes_with_its_user_and_those_of_the_killed_with_the_next(tmp_path: Path) -> None:
    program = (
        "import time; from pathlib import Path; from suture.source import cache\n"
        f"with cache.scratch_folder(Path({str(tmp_path)!r})) as folder:\n"
        " (folder / 'half').mkdir(); print(folder, flush=True); time.sleep(60)\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(2)]
    folders = []
    for process in started:
        assert process.stdout is not None
        folders.append(Path(process.stdout.readline().decode().strip()))
    try:
        started[0].kill()
        started[0].communicate()
        assert all((f / "half").exists() for f in folders)
        with cache.scratch_folder(tmp_path) as own:
            assert not folders[0].exists() and (folders[1] / "half").exists() and list(own.iterdir()) == []
        assert not own.exists()
    finally:
        started[1].kill()
        started[1].communicate()
    with pytest.raises(RuntimeError), cache.scratch_folder(tmp_path) as own:
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == [".scratch.lock"]


def test_a_safe_name_has_nothing_that_an_overlay_option_would_split() -> None:
    assert cache.safe("1:1.2,3/4") == "1%3a1.2%2c3%2f4"


def test_a_safe_name_stays_in_its_folder_and_is_that_of_one_name_alone(tmp_path: Path) -> None:
    names = ["..", ".", "", "%2e%2e", "%%2e", "../x", "..%2fx", "%2e", "a/../..", "/etc", "%", "%25"]
    safe = [cache.safe(n) for n in names]
    assert len(set(safe)) == len(names)
    for name in safe:
        assert (tmp_path / name).resolve().parent == tmp_path.resolve() and "/" not in name


@pytest.mark.parametrize("use", ["item", "scratch"])
def test_a_cache_that_cannot_be_written_to_is_said_with_the_remedy(tmp_path: Path, use: str) -> None:
    (tmp_path / "file").write_text("no folder")
    place = tmp_path / "file" / "cache"
    with pytest.raises(cache.NoCache) as raised:
        cache.item(place / "x", Path.touch) if use == "item" else cache.scratch(place, lambda _: None)
    assert "SUTURE_CACHE" in raised.value.remedy and str(place) in raised.value.what


def test_items_that_are_made_together_are_made_by_one_at_a_time(tmp_path: Path) -> None:
    made: list[str] = []

    def make(name: str, *paths: str) -> None:
        wanted = [tmp_path / p for p in paths]
        with cache.together(wanted):
            for path in (p for p in wanted if not p.exists()):
                time.sleep(0.05)
                cache.item(path, lambda x: x.touch())
                made.append(f"{name} {path.name}")

    threads = [threading.Thread(target=make, args=a) for a in (("one", "a", "b"), ("two", "b", "a", "c"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(x.split()[1] for x in made) == ["a", "b", "c"], "each of them once, and nobody waits for ever"

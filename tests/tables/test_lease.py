import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from servers import BUCKET, S3Server

from catalog_tagger.errors import RunError, StorageError
from catalog_tagger.storage import Store
from catalog_tagger.tables import lease as leases
from catalog_tagger.tables.lease import Size, hold, read_leases, this_process


def rewrite(store: Store, number: int, **changes: object) -> None:
    """What another machine would have written."""
    (found,) = (lease for lease in read_leases(store, "r") if lease.number == number)
    store.write(f"runs/r/lease/{number:04d}.json", replace(found, **changes).to_json())


def test_a_run_is_held_once_and_free_when_it_was_ended(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with hold(store, "r") as held:
        held.require()
        assert [lease.ended for lease in read_leases(store, "r")] == [False]
    with hold(store, "r"):
        assert [lease.ended for lease in read_leases(store, "r")] == [True, False]
    assert [lease.number for lease in read_leases(store, "r")] == [1, 2]


def test_a_second_driver_is_told_who_works_on_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_S", 0.2)
    store = Store(tmp_path)
    with hold(store, "r") as held:
        driver = read_leases(store, "r")[0].session.driver
        with (
            pytest.raises(RunError, match=rf"run r is being worked on by {driver}; let it end, or stop"),
            hold(store, "r"),
        ):
            pass
        held.require()


def test_the_lease_of_a_process_that_was_killed_here_is_free_at_once(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from catalog_tagger.storage import Store\n"
        "from catalog_tagger.tables.lease import hold\n"
        "with hold(Store(sys.argv[1]), 'r'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == -9
    store = Store(tmp_path)
    started = time.monotonic()
    with hold(store, "r"):
        assert time.monotonic() - started < leases.STALE_S / 2
        assert [lease.ended for lease in read_leases(store, "r")] == [False, False]


def test_a_silent_driver_of_another_machine_is_waited_for_and_then_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "STALE_S", 3.0)
    store = Store(tmp_path)
    with hold(store, "r"):
        pass
    rewrite(store, 1, machine="elsewhere/1/2", ended=False)
    with hold(store, "r"):
        assert len(read_leases(store, "r")) == 2


def test_a_driver_of_another_machine_that_beats_is_let_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    with hold(store, "r"):
        pass
    rewrite(store, 1, machine="elsewhere/1/2", ended=False)
    timer = threading.Timer(1.5, rewrite, args=(store, 1), kwargs={"beat": 99})
    timer.start()
    with pytest.raises(RunError, match="run r is being worked on by"), hold(store, "r"):
        pass
    timer.join()


def test_a_driver_that_ends_while_another_waits_leaves_it_the_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with hold(store, "r"):
        pass
    rewrite(store, 1, machine="elsewhere/1/2", ended=False)
    timer = threading.Timer(1.5, rewrite, args=(store, 1), kwargs={"beat": 99, "ended": True})
    timer.start()
    with hold(store, "r"):
        assert len(read_leases(store, "r")) == 2
    timer.join()


def test_a_driver_that_lost_its_run_is_stopped(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with hold(store, "r") as held:
        text = json.loads(store.read("runs/r/lease/0001.json"))
        store.write("runs/r/lease/0002.json", json.dumps({**text, "number": 2, "owner": "another"}).encode())
        with pytest.raises(RunError, match="another driver has taken it over; finished shards are kept"):
            held.require()


def test_a_driver_whose_number_another_one_took_as_well_is_stopped_at_its_next_beat(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with hold(store, "r") as held:
        rewrite(store, 1, owner="another")  # as on a store that ignores conditions
        with pytest.raises(RunError, match="another driver has taken it over"):
            held.beat()
    assert (read_leases(store, "r")[0].owner, read_leases(store, "r")[0].ended) == ("another", False)


def test_a_driver_whose_run_was_removed_is_stopped(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with hold(store, "r") as held:
        store.remove("runs/r/lease/0001.json")
        with pytest.raises(RunError, match="another driver has taken it over"):
            held.beat()
    assert read_leases(store, "r") == []


def test_machine_time_is_the_nodes_that_were_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_S", 0.05)
    store = Store(tmp_path)
    with hold(store, "r") as held:
        held.measure(lambda: Size(nodes=4, cpus=8, gpus=2))
        time.sleep(0.5)
    session = read_leases(store, "r")[0].session
    assert (session.nodes, session.gpus) == (4, 2)
    assert session.cpus >= 8
    assert session.node_s == pytest.approx(4 * session.wall_s, rel=0.25)


def test_a_damaged_lease_is_one_error_that_names_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("runs/r/lease/0001.json", b"{}")
    with pytest.raises(StorageError, match=r"runs/r/lease/0001\.json: not a lease \(.*\); remove the file"):
        read_leases(store, "r")


def test_this_process_is_alive_by_its_own_name() -> None:
    assert this_process() == this_process()
    assert this_process()[1].rpartition("/")[2]


RACERS = 8


def race(store_uri: str) -> list[str]:
    """What came of several drivers in threads that want one run at the same moment."""
    outcomes: list[str] = []
    together, over = threading.Barrier(RACERS), threading.Event()

    def drive() -> None:
        together.wait()
        try:
            with hold(Store(store_uri), "r"):
                outcomes.append("held")
                over.wait(timeout=30)
        except RunError:
            outcomes.append("refused")
            if len(outcomes) >= RACERS:
                over.set()

    threads = [threading.Thread(target=drive) for _ in range(RACERS)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while len(outcomes) < RACERS and time.monotonic() < deadline:
        time.sleep(0.05)
    over.set()
    for thread in threads:
        thread.join()
    return outcomes


def test_of_drivers_that_start_together_one_holds_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_S", 0.3)
    assert sorted(race(str(tmp_path))) == ["held"] + ["refused"] * (RACERS - 1)


@pytest.mark.parametrize("s3", ["moto"], indirect=True)  # rclone ignores the condition
def test_of_drivers_that_start_together_one_holds_the_run_in_a_bucket(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BEAT_S", 0.3)
    assert sorted(race(f"s3://{BUCKET}/lease-race")) == ["held"] + ["refused"] * (RACERS - 1)

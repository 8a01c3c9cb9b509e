"""Every request to object storage under every fault: what passes is tried again, what does not is said at once."""

import os
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_proxy import OF_BODY, TRANSIENT, FaultProxy, Request, at_random, each_once, proxied, soon_stalled
from servers import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server

from catalog_tagger.errors import StorageError, UsageError
from catalog_tagger.retrying import RetryPolicy, read_timeout_s
from catalog_tagger.storage import Store

DATA = bytes(range(256)) * 4000


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with proxied(s3, monkeypatch) as running:
        yield running


@pytest.fixture
def store(request: pytest.FixtureRequest, s3: S3Server, proxy: FaultProxy) -> Store:
    """A prefix of this test's own with one object."""
    prefix = f"faults/{abs(hash(request.node.name)):x}"
    s3.put(f"{prefix}/there", DATA)
    return Store(f"s3://{BUCKET}/{prefix}")


def read_by_parts(store: Store) -> bool:
    with store.open("there", ahead_bytes=100_000) as file:
        return file.read(5) + file.read() == DATA


#: every kind of request, each with what it must come to
CALLS: dict[str, Callable[[Store], bool]] = {
    "read": lambda store: store.read("there") == DATA,
    "range": lambda store: store.read("there", start=70_000, end=900_000) == DATA[70_000:900_000],
    "open": read_by_parts,
    "info": lambda store: store.info("there").size_bytes == len(DATA),
    "exists": lambda store: store.exists("there") and not store.exists("nowhere"),
    "children": lambda store: store.children("") == ["there"],
    "walk": lambda store: [info.size_bytes for info in store.walk()] == [len(DATA)],
    "write": lambda store: store.write("new", DATA) is None and store.read("new") == DATA,
    "create": lambda store: store.create("new", DATA) and store.read("new") == DATA,
    "remove": lambda store: store.remove("there") is None and not store.exists("there"),
}


@pytest.mark.parametrize("fault", TRANSIENT)
def test_every_call_outlives_every_fault_that_passes(
    store: Store, proxy: FaultProxy, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "stall":
        soon_stalled(monkeypatch)
        store = Store(store.uri)
    proxy.rule = each_once(fault, only=lambda request: fault not in OF_BODY or request.is_read)
    for name, call in CALLS.items():
        if name not in ("read", "range", "open") and fault in OF_BODY:
            continue
        proxy.forget()
        assert call(store), name
        assert proxy.faults[fault] > 0, name
        if name in ("write", "create"):
            store.remove("new")


def test_many_faults_in_a_row_are_outlived(store: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    soon_stalled(monkeypatch)
    store = Store(store.uri)
    proxy.rule = at_random(seed=1, rate=0.6, most=5)
    for name in ("range", "read", "open", "walk", "info", "create"):
        assert CALLS[name](store), name
    assert proxy.faults.total() >= 6


@pytest.mark.parametrize("fault", ["500", "503", "reset", "stall"])
def test_no_layer_multiplies_the_attempts(
    store: Store, proxy: FaultProxy, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    if fault == "stall":
        soon_stalled(monkeypatch)
    store = Store(store.uri)
    proxy.rule = lambda request: fault if fault not in OF_BODY or request.is_read else None
    for name, method in {"read": "GET", "info": "HEAD", "children": "GET", "write": "PUT", "remove": "DELETE"}.items():
        if fault in OF_BODY and name != "read":
            continue
        proxy.forget()
        with pytest.raises(StorageError) as caught:
            CALLS[name](store)
        # aiohttp sends once more, at once, what a closed connection did not take
        assert dict(proxy.requests) == {method: 6 if fault == "reset" else 3}, name
        assert caught.value.transient
        assert not caught.value.systemic, "another object may be well"
        assert "the object store failed 3 times in a row, last with " in str(caught.value)


def test_a_store_that_is_gone_is_nobodys_fault(
    store: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    store = Store(store.uri)
    proxy.stop()
    for name in ("read", "info", "children", "walk", "write", "create", "remove", "open"):
        with pytest.raises(StorageError, match="cannot be reached; check AWS_ENDPOINT_URL and the network") as caught:
            CALLS[name](store)
        assert (caught.value.systemic, caught.value.transient) == (True, True)


def test_a_refused_access_is_said_at_once(store: Store, proxy: FaultProxy) -> None:
    proxy.rule = lambda _: "403"
    for name in ("read", "info", "children", "walk", "write", "create", "remove", "open"):
        proxy.forget()
        with pytest.raises(StorageError, match="access denied; check the permissions and credentials") as caught:
            CALLS[name](store)
        assert (caught.value.systemic, caught.value.transient) == (True, False)
        assert proxy.requests.total() == 1, name


def test_a_missing_object_is_said_at_once(store: Store, proxy: FaultProxy) -> None:
    proxy.rule = lambda request: "404" if request.is_read else None
    for name in ("read", "range", "open"):
        proxy.forget()
        with pytest.raises(FileNotFoundError):
            CALLS[name](store)
        assert proxy.requests.total() == 1, name


@pytest.mark.parametrize("fault", ["500", "403", "stall", "short"])
def test_no_error_shows_a_key(store: Store, proxy: FaultProxy, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    soon_stalled(monkeypatch)
    store = Store(store.uri)
    proxy.rule = lambda _: fault
    with pytest.raises(StorageError) as caught:
        store.read("there")
    for secret in (ACCESS_KEY, SECRET_KEY, "Signature", "127.0.0.1"):
        assert secret not in str(caught.value)


def test_a_read_that_breaks_off_is_taken_up_where_it_broke(store: Store, proxy: FaultProxy) -> None:
    firsts: list[int] = []

    def rule(request: Request) -> str | None:
        firsts.append(request.first)
        return "short" if request.nth < 2 else None

    proxy.rule = rule
    assert store.read("there") == DATA
    assert firsts == [0, len(DATA) // 2, len(DATA) * 3 // 4]
    assert proxy.sent.total() == len(DATA), "and no byte came twice"


@pytest.mark.parametrize("s3", ["moto"], indirect=True)  # rclone keeps the ETag of an object overwritten at once
def test_bytes_of_two_versions_never_come_together(s3: S3Server, store: Store, proxy: FaultProxy) -> None:
    name = f"{store.root.removeprefix(BUCKET)}/there".lstrip("/")
    other = DATA[::-1]

    def rule(request: Request) -> str | None:
        if request.nth == 0:
            return "short"
        if request.nth == 1:
            s3.put(name, other)
        return None

    proxy.rule = rule
    assert store.read("there") == other, "a read of whatever is there begins anew"
    proxy.forget()
    proxy.rule = lambda _: None
    with store.open("there", ahead_bytes=100_000) as file:
        assert file.read(10) == other[:10]
        s3.put(name, DATA)
        with pytest.raises(StorageError, match="there: changed since it was listed or first read"):
            file.read()


# --- created by one --------------------------------------------------------------------------------


@pytest.mark.parametrize("s3", ["moto"], indirect=True)  # rclone ignores the condition
def test_a_create_whose_answer_was_lost_knows_its_own_object(s3: S3Server, store: Store, proxy: FaultProxy) -> None:
    proxy.rule = each_once("lost", only=lambda request: request.method == "PUT")
    assert store.create("lease", b"mine")
    proxy.forget()
    assert not store.create("lease", b"another's")
    assert proxy.faults["lost"] == 1
    assert store.read("lease") == b"mine"


@pytest.mark.parametrize("s3", ["moto"], indirect=True)  # rclone ignores the condition
def test_of_many_that_create_one_name_one_does(store: Store, proxy: FaultProxy) -> None:
    proxy.rule = at_random(seed=3, rate=0.5, most=3, faults=[fault for fault in TRANSIENT if fault != "stall"])
    assert_one_creates(store)


def assert_one_creates(store: Store) -> None:
    made: dict[int, bool] = {}
    start = threading.Barrier(8)

    def create(i: int) -> None:
        start.wait()
        made[i] = store.create("lease", b"%d" % i)

    threads = [threading.Thread(target=create, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [i for i, created in made.items() if created]
    assert store.read("lease") == b"%d" % winner


# --- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_a_number_of_attempts_that_is_none_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", value)
    with pytest.raises(UsageError, match=f"AWS_MAX_ATTEMPTS='{value}': not a number of attempts; use 1 or more"):
        RetryPolicy.from_environment()


@pytest.mark.parametrize("value", ["0", "-1", "long", "inf", "nan"])
def test_a_read_timeout_that_is_none_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATALOG_TAGGER_READ_TIMEOUT_S", value)
    with pytest.raises(UsageError, match=r"CATALOG_TAGGER_READ_TIMEOUT_S=.*: not a number of seconds above 0"):
        read_timeout_s()


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize("value", ["user:hunter2@localhost:9000", "ftp://hunter2", "http://hunter2:no-port", "http://"])
def test_an_endpoint_that_is_none_is_refused_unseen(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=f"^{variable}: not the address of a server; use http://host:port") as caught:
        Store("s3://bucket")
    assert "hunter2" not in shown(caught.value)


def test_so_is_one_of_a_configuration_file(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text("[default]\nendpoint_url = user:hunter2@localhost:9000\n")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(StorageError, match="s3://bucket/a: the endpoint is not the address of a server") as caught:
        Store("s3://bucket").read("a")
    assert caught.value.systemic
    assert "hunter2" not in shown(caught.value)


def shown(error: Exception) -> str:
    """All that a log may hold of an error."""
    return "".join(traceback.format_exception(error))


def test_waits_grow_are_bounded_and_differ() -> None:
    policy = RetryPolicy()
    assert policy.attempts == 8 or "AWS_MAX_ATTEMPTS" in os.environ
    for failures, bound in [(1, 0.25), (2, 0.5), (5, 4.0), (7, 16.0), (8, 20.0), (5000, 20.0)]:
        waits = [policy.wait_s(failures) for _ in range(400)]
        assert 0.0 <= min(waits) < 0.2 * bound, "full jitter"
        assert 0.8 * bound < max(waits) <= bound

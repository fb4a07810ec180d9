"""A dataset in a bucket, over a network on a bad day: the bytes are those on a disk, and nothing half done is seen."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from conftest import Command, sums
from faulty import Faulty
from moto.server import ThreadedMotoServer
from test_engine import kill, start, wait_for

from pseudolabel.dataset import opened
from pseudolabel.facts import facts
from pseudolabel.preview import preview
from pseudolabel.verify import verify

ONE = ("--shard-size", 1, "--quiet")  # shards of 1 MB


class Bucket:
    """The store by its own port, on which nothing fails."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
        self._client.create_bucket(Bucket="bucket")
        self._known: dict[tuple[str, str], str] = {}

    def names(self, out: str) -> set[str]:
        """Of all objects of a dataset."""
        return {name for name, _ in self._list(f"{out}/")}

    def _list(self, prefix: str) -> list[tuple[str, str]]:
        found = self._client.list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", ())
        return [(one["Key"].removeprefix(prefix), one["ETag"]) for one in found]

    def read(self, name: str) -> bytes:
        return self._client.get_object(Bucket="bucket", Key=name)["Body"].read()

    def sums(self, out: str) -> dict[str, str]:
        """sha256 of each object under `data/`."""
        return {name: self._sum(f"{out}/data/{name}", etag) for name, etag in self._list(f"{out}/data/")}

    def _sum(self, name: str, etag: str) -> str:
        """Of an object that is read but once, as long as it is the same."""
        if (name, etag) not in self._known:
            self._known[name, etag] = hashlib.sha256(self.read(name)).hexdigest()
        return self._known[name, etag]


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFNOBODY")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "whatnobodymaysee")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield Bucket(server.get_host_and_port()[1])
    server.stop()


@pytest.fixture(scope="module")
def network(bucket: Bucket) -> Iterator[Faulty]:
    with Faulty(bucket.port) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", proxy.address)
        yield proxy
        proxy.shutdown()


@pytest.fixture
def proxy(network: Faulty) -> Iterator[Faulty]:
    """What the command takes for the store."""
    yield network
    network.each, network.delay, network.gone = 0, 0.0, False


@pytest.mark.parametrize("task", ["jigsaw", "mask-text"])
def test_the_same_bytes_as_on_disk_and_none_half_done(
    task: str, pictures: Path, corpus: Path, bucket: Bucket, proxy: Faulty, pseudolabel: Command, tmp_path: Path
) -> None:
    source = pictures / "class-0" if task == "jigsaw" else corpus / "0.txt"
    words = [task, source, *ONE, "--workers", 2]
    assert pseudolabel(*words, "--out", "disk").returncode == 0
    expected, seen, over = sums(tmp_path / "disk"), set[tuple[str, str]](), threading.Event()

    def watch() -> None:
        while not over.is_set():
            seen.update(bucket.sums(task).items())
            time.sleep(0.02)

    proxy.each, faults = 8, proxy.faults
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        done = pseudolabel(*words, "--out", f"s3://bucket/{task}")
        over.set()
        watching.result()
    assert done.returncode == 0, done.stderr
    assert proxy.faults - faults > 5
    assert bucket.sums(task) == expected
    assert len(expected) >= 5
    assert seen <= set(expected.items()), "what was seen of a file was all of it"
    on_disk = {str(path.relative_to(tmp_path / "disk")) for path in (tmp_path / "disk").rglob("*") if path.is_file()}
    assert bucket.names(task) == on_disk - {"_records/lock"}
    told = (bucket.read(f"{task}/{name}").decode() for name in ("_manifest.json", "README.md"))
    assert not any(secret in text for text in told for secret in ("AKIAOFNOBODY", "whatnobodymaysee", proxy.address))

    found = verify(f"s3://bucket/{task}", source, workers=1)
    assert found.sound
    assert found.true == found.checked == facts(opened(f"s3://bucket/{task}"))["rows"]["train"] > 20
    assert str(preview(f"s3://bucket/{task}")) == f"s3://bucket/{task}/index.html"
    assert bucket.read(f"{task}/index.html").startswith(b"<!doctype html>")


def test_killed_and_run_again(
    pictures: Path, bucket: Bucket, proxy: Faulty, pseudolabel: Command, tmp_path: Path
) -> None:
    words = ["jigsaw", pictures / "class-0", "--shard-size", 1, "--workers", 1, "--out", "s3://bucket/killed"]
    proxy.delay = 1.0
    run = start(words, tmp_path)
    wait_for(lambda: bucket.sums("killed"), run)
    second = pseudolabel(*words)
    assert second.returncode == 4, second.stderr
    assert "another run is at work on s3://bucket/killed" in second.stderr
    kill(run)
    before, sent = bucket.sums("killed"), len(proxy.puts)
    proxy.delay, begun = 0.0, time.monotonic()
    again = pseudolabel(*words)
    assert again.returncode == 0, again.stderr
    assert time.monotonic() - begun < 40
    assert "gives no sign" in again.stderr, "it says why it waits"
    made = bucket.sums("killed")
    assert before.items() < made.items()
    assert not [path for path in proxy.puts[sent:] if Path(path.partition("?")[0]).name in before], "sent once"

    finished = pseudolabel(*words, "--json")
    assert (finished.returncode, json.loads(finished.stdout)["status"]) == (0, "already finished")
    other = pseudolabel(*words, "--seed", 1)
    assert other.returncode == 4
    assert "seed is 0 there and 1 here" in other.stderr
    assert bucket.sums("killed") == made
    assert pseudolabel(*words, "--seed", 1, "--limit", 3, "--overwrite").returncode == 0
    assert len(bucket.sums("killed")) == 1, "nothing of the old one is left"


def test_a_store_that_goes_away(
    pictures: Path, bucket: Bucket, proxy: Faulty, pseudolabel: Command, tmp_path: Path
) -> None:
    words = ["jigsaw", pictures / "class-0", *ONE, "--workers", 2, "--out", "s3://bucket/away"]
    proxy.delay = 1.0
    run = start(words, tmp_path)
    wait_for(lambda: bucket.sums("away"), run)
    proxy.gone, begun = True, time.monotonic()
    said = run.communicate(timeout=60)[1]
    assert time.monotonic() - begun < 60
    assert run.returncode == 74, said
    assert said.startswith("pseudolabel: storage failed: s3://bucket/away")
    assert len(said.splitlines()) == 1
    proxy.gone, proxy.delay = False, 0.0
    assert pseudolabel(*words).returncode == 0
    assert bucket.sums("away")


def test_what_cannot_be_reached_is_said_in_a_line(
    pictures: Path, proxy: Faulty, pseudolabel: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["jigsaw", pictures / "class-0", "--limit", 1]
    for out, code, told in (
        ("s3://nowhere/tiles", 2, "the bucket"),
        ("hf://datasets/me/tiles", 2, "hf upload"),
        ("s3://me:secret@bucket/tiles", 2, "password"),
    ):
        done = pseudolabel(*words, "--out", out)
        assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
        assert told in done.stderr
        assert "secret" not in done.stderr
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    done = pseudolabel(*words, "--out", "s3://bucket/tiles")
    assert (done.returncode, len(done.stderr.splitlines())) == (74, 1), done.stderr
    assert "credentials" in done.stderr

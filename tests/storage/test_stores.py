"""A dataset in a bucket, over a network on a bad day: the bytes are those on a disk, and nothing half done is seen."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
import s3fs
from faulty import Faulty
from moto.server import ThreadedMotoServer
from processes import kill, start, wait_for
from runs import Command, arguments

from pseudolabel import Jigsaw, MaskText, Task
from pseudolabel import run as run_here
from pseudolabel.contracts import UserError
from pseudolabel.inspection.describe import describe
from pseudolabel.inspection.preview import preview
from pseudolabel.inspection.verify import verify
from pseudolabel.storage.lock import Lease
from pseudolabel.storage.urls import open_location
from pseudolabel.testing.checks import checksums
from pseudolabel.writers.dataset import open_dataset

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

    def write(self, name: str, said: bytes) -> None:
        self._client.put_object(Bucket="bucket", Key=name, Body=said)

    def checksums(self, out: str) -> dict[str, str]:
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
        s3fs.S3FileSystem.clear_instance_cache()  # a file system keeps the endpoint it was made with
        yield proxy
        proxy.shutdown()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def proxy(network: Faulty) -> Iterator[Faulty]:
    """What the command takes for the store."""
    yield network
    network.each, network.delay = 0, 0.0


@pytest.mark.parametrize(
    "task",
    [pytest.param(Jigsaw(), id="jigsaw"), pytest.param(MaskText(), id="mask-text", marks=pytest.mark.slow)],
)
def test_the_same_bytes_as_on_disk_and_none_half_done(
    task: Task, pictures: Path, corpus: Path, bucket: Bucket, proxy: Faulty, pseudolabel: Command, tmp_path: Path
) -> None:
    source, limit, out = (pictures / "class-0", 24, "tiles") if task.name == "jigsaw" else (corpus, 12_000, "masked")
    run_here(task, source, out=tmp_path / "disk", shard_size=1, limit=limit, workers=1)
    expected, seen, over = checksums(tmp_path / "disk"), set[tuple[str, str]](), threading.Event()

    def watch() -> None:
        while not over.is_set():
            seen.update(bucket.checksums(out).items())
            time.sleep(0.02)

    proxy.each, faults = 10, proxy.faults
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        try:
            done = pseudolabel(task.name, source, *ONE, "--limit", limit, "--workers", 2, "--out", f"s3://bucket/{out}")
        finally:
            over.set()
        watching.result()
    assert done.returncode == 0, done.stderr
    assert proxy.faults - faults > 5
    assert bucket.checksums(out) == expected
    assert len(expected) >= 4
    assert seen <= set(expected.items()), "what was seen of a file was all of it"
    on_disk = {str(path.relative_to(tmp_path / "disk")) for path in (tmp_path / "disk").rglob("*") if path.is_file()}
    assert bucket.names(out) == on_disk - {"_records/lock"}
    told = (bucket.read(f"{out}/{name}").decode() for name in ("_manifest.json", "README.md"))
    assert not any(secret in text for text in told for secret in ("AKIAOFNOBODY", "whatnobodymaysee", proxy.address))

    found = verify(f"s3://bucket/{out}", source, workers=1)
    assert found.has_no_fault
    assert found.true == found.checked == describe(open_dataset(f"s3://bucket/{out}"))["rows"]["train"] > 10
    assert str(preview(f"s3://bucket/{out}")) == f"s3://bucket/{out}/index.html"
    assert bucket.read(f"{out}/index.html").startswith(b"<!doctype html>")


@pytest.mark.slow
def test_killed_and_run_again(
    pictures: Path, bucket: Bucket, proxy: Faulty, pseudolabel: Command, tmp_path: Path
) -> None:
    source, out = pictures / "class-0", "s3://bucket/killed"
    words = ["jigsaw", source, "--shard-size", 1, "--workers", 1, "--out", out]
    proxy.delay = 6.0  # seconds a shard, below the timeout of a request: the first run is at work until it is killed
    run = start(words, tmp_path)
    wait_for(lambda: bucket.checksums("killed"), run)
    second = pseudolabel(*words)
    assert second.returncode == 4, second.stderr
    assert f"another run is writing to {out}" in second.stderr
    kill(run)
    before, sent = bucket.checksums("killed"), len(proxy.puts)
    proxy.delay = 0.0
    again = pseudolabel(*words)
    assert again.returncode == 0, again.stderr
    assert "does not renew it" in again.stderr, "it says why it waits"
    made = bucket.checksums("killed")
    assert before.items() <= made.items()
    assert not [path for path in proxy.puts[sent:] if path.endswith(tuple(f"killed/data/{name}" for name in before))]

    assert run_here(Jigsaw(), source, out=out, shard_size=1).status == "already finished"
    with pytest.raises(UserError, match="seed is 0, not 1"):
        run_here(Jigsaw(), source, out=out, shard_size=1, seed=1)
    assert bucket.checksums("killed") == made
    run_here(Jigsaw(), source, out=out, shard_size=1, seed=1, limit=3, workers=1, overwrite=True)
    assert len(bucket.checksums("killed")) == 1, "nothing of the old one is left"


def test_a_run_whose_lock_was_taken_over_leaves_the_lock_of_the_other(bucket: Bucket) -> None:
    place = open_location("s3://bucket/taken/_records/lock")
    lease = Lease(place, print)
    lease.take()
    bucket.write("taken/_records/lock", json.dumps({"who": "another", "token": "other", "signs": 1}).encode())
    lease.leave()
    assert json.loads(place.read_bytes())["who"] == "another"
    place.unlink()


def test_what_cannot_be_reached_is_said_in_a_line(
    pictures: Path, bucket: Bucket, proxy: Faulty, pseudolabel: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.write("other/notes.txt", b"not ours")
    for out, told in (
        ("s3://nowhere/tiles", "s3://nowhere/tiles: The specified bucket does not exist; create the bucket"),
        ("hf://datasets/me/tiles", "hf upload"),
        ("s3://me:secret@bucket/tiles", "must contain no password"),
        ("s3://bucket/other", "holds other files .notes.txt."),
    ):
        with pytest.raises(UserError, match=told) as refused:
            run_here(Jigsaw(), pictures / "class-0", out=out, limit=1)
        assert "secret" not in str(refused.value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    done = pseudolabel("jigsaw", pictures / "class-0", "--limit", 1, "--out", "s3://bucket/tiles")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 2), done.stderr
    assert "no access to s3://bucket/tiles: Unable to locate credentials\nlog in as" in done.stderr


@pytest.mark.slow
def test_a_store_that_goes_away(pictures: Path, bucket: Bucket, network: Faulty, tmp_path: Path) -> None:
    """It goes away while a run is at work: the run retries for half a minute, and a second run finishes the dataset."""
    words = ["jigsaw", pictures / "class-1", *ONE, "--workers", 1, "--out", "s3://bucket/away"]
    run = start(words, tmp_path)
    wait_for(lambda: bucket.checksums("away"), run)
    network.gone = "away"
    said = run.communicate()[1]
    network.gone = ""
    assert run.returncode == 74, said
    assert said.startswith("pseudolabel: storage failed: s3://bucket/away")
    assert len(said.splitlines()) <= 2
    assert subprocess.run(arguments(*words), capture_output=True).returncode == 0
    assert len(bucket.checksums("away")) >= 3

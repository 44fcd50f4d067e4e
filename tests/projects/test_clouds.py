"""Datastores in the clouds, against real servers of their protocols (SPEC D1; attack 12)."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from django.contrib.auth.models import User
from django.test import Client

from labeling.pages import preview_url
from projects.models import Datastore
from projects.stores import Entry, StoreDown, StoreError, store_for
from tests import make
from tests.clouds.names import BULK, CONTAINER, bulk_names
from tests.clouds.servers import AZURE_ACCOUNT, AZURE_KEY, Google, Server
from tests.clouds.weather import Weather

pytestmark = pytest.mark.django_db

ODD_KEYS = {
    "a//b.png",
    "%2e%2e/c.png",
    "q?x=1#y.png",
    "a b+c&d.png",
    "é.png",
    "e\u0301.png",
    "\u202egnp.exe.png",
    "😀.png",
    "<script>alert(1)</script>.png",
    "x" * 1020 + ".png",
}
DOTTED_KEYS = {"../up.png", "a/./b.png", "../../etc/passwd.png", "a\\b.png"}  # Azure has no such names
NEWLINE_KEYS = {"line\nbreak.png"}  # Google's forbid it; moto's routes do not know it


def test_many_thousands_are_listed_once_each_and_in_pages_that_can_be_taken_up_again(cloud: Server) -> None:
    store = cloud.datastore().open()
    pages = store.pages(BULK)
    first, second = next(pages), next(pages)
    later = store_for(Datastore.objects.latest("pk"))  # another worker, another day
    keys = [entry.key for page in (first, second, *later.pages(BULK, after=second.bookmark)) for entry in page]
    assert keys == bulk_names(cloud.n_bulk)
    assert len(first) < 6000


def test_odd_names_are_names(cloud: Server) -> None:
    keys = ODD_KEYS | (DOTTED_KEYS if cloud.kind != "azure" else NEWLINE_KEYS)
    store = cloud.datastore("odd").open()
    for key in keys:
        assert store.write(key, io.BytesIO(key.encode())) == key
    assert {entry.key for page in store.pages() for entry in page} == keys
    for key in keys:
        with store.open(key) as file:
            assert file.read() == key.encode()
        assert store.exists(key)
        store.delete(key)
        assert not store.exists(key)
        store.delete(key)
    assert [entry for page in store.pages() for entry in page] == []


@pytest.mark.parametrize("key", ["", "a\0b.png", "x" * 1025, "\ud800.png"])
def test_what_can_be_no_name_is_refused_in_words(cloud: Server, key: str) -> None:
    with pytest.raises(StoreError, match="is not a name"):
        cloud.datastore().open().open(key)


def test_dots_never_lead_to_another_container(clouds: Callable[[str], Server], settings) -> None:
    settings.PRIVATE_ENDPOINTS = ["127.0.0.1"]
    store = clouds("azure").datastore().open()
    for key in ("../pictures/bulk/000/000001.png", "..\\pictures\\bulk\\000\\000001.png", "bulk/./000/000001.png"):
        with pytest.raises(StoreError, match="Azure can't be asked"):
            store.open(key)


def test_a_prefix_is_the_root_and_nothing_above_it_is_seen(cloud: Server) -> None:
    store = cloud.datastore(f"{BULK}/003").open()
    assert [e.key for page in store.pages() for e in page] == [f"{n:06}.png" for n in range(3000, 4000)]
    above = cloud.datastore().open().browse(BULK)
    assert above.folders[:2] == ["000", "001"]
    level = store.browse("")
    assert (level.folders, level.files[0].key, len(level.files), level.is_cut) == ([], "003000.png", 500, True)


def test_a_file_is_read_from_any_place_and_what_is_there_stays(cloud: Server) -> None:
    store = cloud.datastore("files").open()
    content = bytes(range(256)) * 40_000  # 10 MB: more than one block of any library
    store.write("big.bin", io.BytesIO(content), overwrite=True)
    with store.open("big.bin") as file:
        assert file.seek(0, io.SEEK_END) == len(content)
        file.seek(9_000_001)
        assert file.read(10) == content[9_000_001:9_000_011]
        file.seek(5)
        assert file.read() == content[5:]
    with pytest.raises(FileExistsError):
        store.write("big.bin", io.BytesIO(b"other"))
    store.write("big.bin", io.BytesIO(b"other"), overwrite=True)
    with store.open("big.bin") as file:
        assert file.read() == b"other"
    with pytest.raises(StoreError, match="“gone.png” is not there"):
        store.open("gone.png")


def test_a_signed_address_opens_one_file_for_a_while(clouds: Callable[[str], Server], settings) -> None:
    settings.PRIVATE_ENDPOINTS = ["127.0.0.1"]
    for kind in ("azure", "s3"):
        store = clouds(kind).datastore("signed é").open()
        store.write("a b?.png", io.BytesIO(b"picture"), overwrite=True)
        url = store.url("a b?.png", 60)
        assert url is not None
        with urlopen(url) as answer:
            assert answer.read() == b"picture"
            # An "image" that is a page is saved, never shown (attack 9).
            assert answer.headers["Content-Disposition"] == "attachment"
            assert answer.headers["Content-Type"].startswith("application/octet-stream")
        assert clouds(kind).secret() not in url
    past = clouds("azure").datastore().open().url("bulk/000/000001.png", -60)
    with pytest.raises(HTTPError, match="403"):
        urlopen(str(past))
    quiet = clouds("s3").datastore(options={"signed_urls": False}).open()
    assert quiet.url("bulk/000/000001.png", 60) is None


def test_googles_addresses_are_signed_with_the_key_of_the_file(clouds: Callable[[str], Server], settings) -> None:
    settings.PRIVATE_ENDPOINTS = ["127.0.0.1"]
    server = clouds("gcs")
    assert isinstance(server, Google)
    secret = server.service_account("https://oauth2.googleapis.com/token")
    url = server.datastore(secret=secret).open().url("bulk/000/000001.png", 300)
    assert url is not None
    assert url.startswith(f"http://127.0.0.1:{server.port}/pictures/bulk/000/000001.png?")
    assert "X-Goog-Expires=300" in url
    assert "X-Goog-Signature=" in url


# --- What goes wrong -----------------------------------------------------------------------------------


def test_a_test_of_the_connection_says_what_is_wrong_in_words(cloud: Server) -> None:
    cloud.datastore().open().check()
    lost = cloud.datastore()
    lost.container = "nowhere"
    with pytest.raises(StoreError, match="There is no “nowhere” there"):
        lost.open().check()
    shut = cloud.datastore(port=1)
    with pytest.raises(StoreDown, match="can't be reached"):
        shut.open().check()


def test_wrong_and_expired_credentials_are_told_apart(clouds: Callable[[str], Server], settings) -> None:
    settings.PRIVATE_ENDPOINTS = ["127.0.0.1"]
    azure = clouds("azure")
    with pytest.raises(StoreDown, match="does not accept these credentials"):
        azure.datastore(secret="bm9ib2R5J3Mga2V5").open().check()
    now = datetime.now(UTC)

    def signature(expiry: datetime) -> str:
        rights = ContainerSasPermissions(read=True, list=True)
        return generate_container_sas(AZURE_ACCOUNT, CONTAINER, AZURE_KEY, permission=rights, expiry=expiry)

    store = azure.datastore(secret=signature(now + timedelta(hours=1))).open()
    store.check()
    assert store.url("bulk/000/000001.png", 60) is None  # it would hand the whole container's signature out
    with pytest.raises(StoreDown, match="have expired"):
        azure.datastore(secret=signature(now - timedelta(hours=1))).open().check()


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("ExpiredToken", 400, "have expired"),
        ("InvalidAccessKeyId", 403, "does not accept these credentials"),
        ("AccessDenied", 403, "may not do this"),
        ("IllegalLocationConstraintException", 400, "in another region"),
        ("RequestTimeTooSkewed", 403, "clock of this machine"),
        ("Teapot", 418, "error 418 Teapot"),
    ],
)
def test_what_s3_answers_becomes_words_without_its_body(
    clouds: Callable[[str], Server], weather: Callable[[Server], Weather], code: str, status: int, words: str
) -> None:
    proxy = weather(clouds("s3"))
    body = f"<Error><Code>{code}</Code><Message>internal-host 10.1.2.3 s3cr3t</Message></Error>".encode()
    proxy.fault = lambda path: (status, body)
    with pytest.raises(StoreError, match=words) as caught:
        clouds("s3").datastore(port=proxy.port).open().check()
    assert "s3cr3t" not in str(caught.value)


def test_a_connection_lost_in_the_middle_is_made_again(cloud: Server, weather: Callable[[Server], Weather]) -> None:
    proxy = weather(cloud)
    lost = iter([None])
    proxy.fault = lambda path: next(lost, False)
    store = cloud.datastore(f"{BULK}/002", port=proxy.port).open()
    assert len([entry for page in store.pages() for entry in page]) == 1000
    content = b"0123456789" * 100_000
    cloud.datastore("lost").open().write("a.bin", io.BytesIO(content), overwrite=True)
    proxy.requests.clear()
    lost = iter([False, None])
    store = cloud.datastore("lost", port=proxy.port).open()
    with store.open("a.bin") as file:
        assert file.read() == content
    assert len(proxy.requests) > 2


# --- Through the site's doors --------------------------------------------------------------------------


def test_a_project_from_a_cloud_is_labeled_and_its_labels_exported_there(cloud: Server, manager: User) -> None:
    from exports import jobs

    store = cloud.datastore("project", created_by=manager)
    place = store.open()
    for number in range(3):
        place.write(f"photos/{number}.png", io.BytesIO(make.tiny_png()), overwrite=True)
    place.write("photos/letter.png", io.BytesIO(b"Dear image"), overwrite=True)
    Datastore.objects.filter(is_default=True).update(is_default=False)
    Datastore.objects.filter(pk=store.pk).update(is_default=True)
    project = make.project_of(manager, store, "photos/**")
    assert project.state == "running"
    page = make.page(project, manager)
    image = page.tasks.first().image
    assert (page.size, image.width, image.height) == (3, 8, 6)
    client = Client()
    client.force_login(manager)
    preview = client.get(preview_url(image, 512))
    assert (preview.status_code, preview["Content-Type"]) == (200, "image/jpeg")
    answer = client.get(f"/api/v1/projects/{project.pk}/images/{image.pk}/file/")
    content = urlopen(answer["Location"]).read() if answer.status_code == 302 else b"".join(answer.streaming_content)
    assert content == make.tiny_png()
    export = jobs.enqueue(project, manager)
    export.refresh_from_db()
    assert export.state == "done"
    with store.open().open(export.location) as file:
        assert len(json.load(file)["categories"]) == 3


def test_a_manager_browses_and_tests_a_cloud_in_the_console(cloud: Server, manager: User) -> None:
    store = cloud.datastore(BULK, created_by=manager)
    client = Client()
    client.force_login(manager)
    level = client.get("/admin/projects/datastore/browse/", {"datastore": store.pk}).content.decode()
    assert "000" in level
    found = client.get("/admin/projects/datastore/found/", {"datastore": store.pk, "pattern": "002/**"})
    assert "1,000 images found" in found.content.decode()


def test_keys_that_look_the_same_are_different_files(cloud: Server) -> None:
    store = cloud.datastore("twins").open()
    for key in ("é.png", "e\u0301.png", "É.png"):
        store.write(key, io.BytesIO(key.encode()), overwrite=True)
    entries: list[Entry] = [entry for page in store.pages() for entry in page]
    assert len(entries) == 3

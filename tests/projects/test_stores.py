"""A local folder as a datastore: listing, browsing, opening and writing; keys are data (attacks 12 and 13)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from projects.stores import LocalStore, StoreError, store_for

HOSTILE_KEYS = [
    "../outside.jpg",
    "a/../../outside.jpg",
    "/etc/passwd",
    "a//b.jpg",
    "",
    ".",
    "a/.",
    "a\0b.jpg",
    "\ud800.jpg",
]
# Keys that look odd and are only names.
ODD_KEYS = [
    "..\\..\\x.jpg",
    "C:\\x.jpg",
    "line\nbreak.jpg",
    "\u202egpj.exe.jpg",
    "...jpg",
    "a/" * 60 + "x.jpg",
    "é.jpg",
    "e\u0301.jpg",
    "' OR 1=1 --.jpg",
    "%2e%2e/x.jpg",
]


def fill(root: Path, *keys: str, content: bytes = b"x") -> LocalStore:
    """Write files and return their store."""
    for key in keys:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return LocalStore(root)


def keys_of(store: LocalStore, prefix: str = "", after: str = "", page_size: int = 5000) -> list[str]:
    return [entry.key for page in store.pages(prefix, after, page_size) for entry in page]


def open_datastore(container: Path | str, prefix: str = "", kind: str = "local") -> SimpleNamespace:
    return SimpleNamespace(pk=1, kind=kind, container=str(container), prefix=prefix, options={}, secret="s3cret")


@contextmanager
def locked_folder() -> Iterator[Path]:
    """A folder with one subfolder that this process may not read, also when the tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        fill(root, "open/a.jpg", "shut/b.jpg")
        (root / "shut").chmod(0)
        is_root = os.geteuid() == 0
        root.chmod(0o755)
        if is_root:
            os.seteuid(65534)
        try:
            yield root
        finally:
            if is_root:
                os.seteuid(0)
            (root / "shut").chmod(0o755)


# --- Listing ------------------------------------------------------------------------------------


def test_it_lists_in_code_point_order_whatever_the_folders(tmp_path: Path) -> None:
    keys = ["a.jpg", "a/b.jpg", "a/b/c.jpg", "a-b.jpg", "a0.jpg", "B.jpg", "é/x.jpg", "a b/x.jpg", "a/😀.jpg", "a!.jpg"]
    store = fill(tmp_path, *keys)
    assert keys_of(store) == sorted(keys)


def test_it_goes_on_after_any_key(tmp_path: Path) -> None:
    store = fill(tmp_path, "a.jpg", "a/b.jpg", "a/b/c.jpg", "a/c.jpg", "a-b.jpg", "b/x.jpg", "c.jpg")
    everything = keys_of(store)
    for after in [*everything, "a", "a/", "a/b", "a/bb", "zzz", "a/b.jpg "]:
        assert keys_of(store, after=after) == [key for key in everything if key > after]
    assert keys_of(store, prefix="a", after="a/b.jpg") == ["a/b/c.jpg", "a/c.jpg"]


def test_it_hands_out_pages_of_the_size_asked_for(tmp_path: Path) -> None:
    store = fill(tmp_path, *(f"{n}.jpg" for n in range(7)))
    assert [len(page) for page in store.pages(page_size=3)] == [3, 3, 1]
    (tmp_path / "empty").mkdir()
    assert list(LocalStore(tmp_path / "empty").pages()) == []


def test_it_lists_below_a_prefix_with_keys_from_the_root(tmp_path: Path) -> None:
    store = fill(tmp_path, "a/x.jpg", "a/b/y.jpg", "ab/z.jpg")
    assert keys_of(store, "a") == keys_of(store, "/a/") == ["a/b/y.jpg", "a/x.jpg"]
    assert keys_of(store, "nowhere") == []


def test_it_walks_folders_deeper_than_python_recurses(tmp_path: Path) -> None:
    deep = tmp_path
    here = Path.cwd()
    try:
        for _n in range(505):  # 505 levels of one letter are 1,010 bytes, close to what a key may be
            os.chdir(deep) if deep is tmp_path else os.chdir("d")
            Path("d").mkdir()
            deep = deep / "d"
        os.chdir("d")
        Path("x.jpg").write_bytes(b"x")
    finally:
        os.chdir(here)
    assert keys_of(LocalStore(tmp_path)) == ["d/" * 505 + "x.jpg"]


def test_it_gives_size_and_an_etag_that_changes_with_the_content(tmp_path: Path) -> None:
    store = fill(tmp_path, "a.jpg", content=b"12345")
    before = next(store.pages())[0]
    (tmp_path / "a.jpg").write_bytes(b"54321")
    os.utime(tmp_path / "a.jpg", ns=(0, 1_000_000_000))
    after = next(store.pages())[0]
    assert before.size == after.size == 5
    assert before.etag != after.etag


def test_it_leaves_out_hidden_files_and_what_is_no_file(tmp_path: Path) -> None:
    store = fill(tmp_path, ".hidden.jpg", ".git/x.jpg", "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert keys_of(store) == ["a.jpg"]


def test_it_passes_over_names_that_cannot_be_keys_and_counts_them(tmp_path: Path) -> None:
    store = fill(tmp_path, "a.jpg")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.jpg")).write_bytes(b"x")
    long_folder = tmp_path / ("é" * 120) / ("é" * 120) / ("é" * 120) / ("é" * 120)
    long_folder.mkdir(parents=True)
    (long_folder / f"{'y' * 100}.jpg").write_bytes(b"x")
    assert keys_of(store) == ["a.jpg"]
    assert store.n_skipped == 2


def test_it_lists_odd_names_as_they_are(tmp_path: Path) -> None:
    keys = [key for key in ODD_KEYS if not key.startswith(".")]
    store = fill(tmp_path, *keys)
    assert keys_of(store) == sorted(keys)


@pytest.mark.parametrize("page_size", [1, 5000])
def test_it_survives_files_that_go_while_it_lists(tmp_path: Path, page_size: int) -> None:
    store = fill(tmp_path, "a.jpg", "b.jpg", "c/d.jpg")
    pages = store.pages(page_size=page_size)
    first = next(pages)
    (tmp_path / "b.jpg").unlink()
    (tmp_path / "c/d.jpg").unlink()
    (tmp_path / "c").rmdir()
    assert "a.jpg" in [entry.key for entry in first]
    assert list(pages) == []


# --- What is wrong, in words ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "words"),
    [("/no/such/folder", "is not there"), ("relative/folder", "full path"), ("/etc/hostname/x", "is a file")],
)
def test_it_says_what_is_wrong_with_the_folder(container: str, words: str) -> None:
    store = LocalStore(container)
    with pytest.raises(StoreError, match=words):
        store.check()
    with pytest.raises(StoreError, match=words):
        list(store.pages())
    with pytest.raises(StoreError, match=words):
        store.browse("")


def test_it_says_that_a_folder_may_not_be_read(tmp_path: Path) -> None:
    with locked_folder() as root:
        store = LocalStore(root)
        with pytest.raises(StoreError, match="“shut/” can't be used: labelsite has no permission"):
            keys_of(store)
        with pytest.raises(StoreError, match="no permission"):
            store.open("shut/b.jpg")
        with pytest.raises(StoreError, match="no permission"):
            store.write("open/c.jpg", BytesIO(b"x"))
        assert keys_of(store, "open") == ["open/a.jpg"]


def test_it_refuses_a_kind_that_it_does_not_know() -> None:
    with pytest.raises(StoreError, match="not a kind of datastore") as caught:
        store_for(open_datastore("/x", kind="ftp"))
    assert "s3cret" not in str(caught.value)


def test_it_opens_a_datastore_with_its_prefix(tmp_path: Path) -> None:
    fill(tmp_path, "a/b/x.jpg", "a/y.jpg")
    store = store_for(open_datastore(tmp_path, "/a/"))
    store.check()
    assert [entry.key for page in store.pages() for entry in page] == ["b/x.jpg", "y.jpg"]


@pytest.mark.parametrize("prefix", ["..", "a/../..", "a//b", "a\0"])
def test_it_refuses_a_prefix_that_leads_out(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(StoreError):
        store_for(open_datastore(tmp_path, prefix))


def test_it_refuses_a_prefix_that_is_a_link_to_elsewhere(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "link").symlink_to(outside)
    with pytest.raises(StoreError, match="leads out"):
        store_for(open_datastore(root, "link"))


def test_it_keeps_to_the_folders_that_the_operator_allows(tmp_path: Path, settings) -> None:
    allowed, other = tmp_path / "allowed", tmp_path / "other"
    (allowed / "deep").mkdir(parents=True)
    other.mkdir()
    (allowed / "link").symlink_to(other)
    settings.LOCAL_ROOTS = [str(allowed)]
    store_for(open_datastore(allowed / "deep")).check()
    store_for(open_datastore(settings.DATA_DIR / "datastore"))
    for folder in (other, allowed / "link", allowed / ".." / "other"):
        with pytest.raises(StoreError, match="LOCAL_ROOTS"):
            store_for(open_datastore(folder))


# --- Browsing ---------------------------------------------------------------------------------------


def test_it_browses_one_level(tmp_path: Path) -> None:
    store = fill(tmp_path, "b.jpg", "a.jpg", "x/1.jpg", "x/y/2.jpg", ".hidden/3.jpg")
    folder = store.browse("")
    assert (folder.folders, [f.key for f in folder.files], folder.is_cut) == (["x"], ["a.jpg", "b.jpg"], False)
    below = store.browse("/x/")
    assert (below.folders, [f.key for f in below.files]) == (["y"], ["x/1.jpg"])


def test_it_says_when_there_is_more_than_it_shows(tmp_path: Path) -> None:
    store = fill(tmp_path, *(f"{n}.jpg" for n in range(5)), "f/x.jpg")
    folder = store.browse("", limit=3)
    assert (folder.folders, len(folder.files), folder.is_cut) == (["f"], 3, True)


@pytest.mark.parametrize("folder", ["..", "a/../..", "nowhere", "a.jpg", "\0"])
def test_it_browses_nothing_but_folders_inside(tmp_path: Path, folder: str) -> None:
    store = fill(tmp_path, "a.jpg")
    with pytest.raises(StoreError):
        store.browse(folder)


# --- Links -------------------------------------------------------------------------------------------


def test_it_does_not_follow_links_out_of_the_folder(tmp_path: Path) -> None:
    """Attack 13."""
    fill(tmp_path / "outside", "secret.jpg")
    store = fill(tmp_path / "root", "a.jpg")
    root = tmp_path / "root"
    (root / "file.jpg").symlink_to(tmp_path / "outside/secret.jpg")
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "dangling.jpg").symlink_to(tmp_path / "outside/later.jpg")
    (root / "inside.jpg").symlink_to(root / "a.jpg")
    (root / "circle").symlink_to(root)
    assert keys_of(store) == ["a.jpg", "inside.jpg"]
    assert [entry.key for entry in store.browse("").files] == ["a.jpg", "inside.jpg"]
    for key in ("file.jpg", "folder/secret.jpg", "dangling.jpg"):
        with pytest.raises(StoreError, match="leads out"):
            store.open(key)
        with pytest.raises(StoreError, match="leads out"):
            store.write(key, BytesIO(b"x"), overwrite=True)
        with pytest.raises(StoreError, match="leads out"):
            store.delete(key)
    with pytest.raises(StoreError, match="leads out"):
        list(store.pages("folder"))
    assert (tmp_path / "outside/secret.jpg").read_bytes() == b"x"
    assert not (tmp_path / "outside/later.jpg").exists()


def test_a_folder_whose_name_begins_like_the_root_is_outside(tmp_path: Path) -> None:
    fill(tmp_path / "root-2", "secret.jpg")
    store = fill(tmp_path / "root", "a.jpg")
    (tmp_path / "root/link.jpg").symlink_to(tmp_path / "root-2/secret.jpg")
    assert keys_of(store) == ["a.jpg"]


# --- Opening and writing -----------------------------------------------------------------------------


@pytest.mark.parametrize("key", HOSTILE_KEYS)
def test_it_refuses_keys_that_name_nothing_inside(tmp_path: Path, key: str) -> None:
    """Attack 12."""
    store = fill(tmp_path / "root", "a/b.jpg")
    fill(tmp_path, "outside.jpg", content=b"outside")
    for act in (store.open, store.exists, store.delete, lambda key: store.write(key, BytesIO(b"new"), overwrite=True)):
        with pytest.raises(StoreError) as caught:
            act(key)
        str(caught.value).encode()  # any page can show it
    assert (tmp_path / "outside.jpg").read_bytes() == b"outside"


@pytest.mark.parametrize("key", ODD_KEYS)
def test_it_writes_and_reads_odd_names_inside_the_folder(tmp_path: Path, key: str) -> None:
    """Attack 12."""
    root = tmp_path / "root"
    root.mkdir()
    store = LocalStore(root)
    assert store.write(key, BytesIO(b"content")) == key
    with store.open(key) as file:
        assert file.read() == b"content"
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_it_keeps_what_is_there_unless_told_to_overwrite(tmp_path: Path) -> None:
    store = fill(tmp_path, "a.jpg", content=b"old")
    with pytest.raises(FileExistsError):
        store.write("a.jpg", BytesIO(b"new"))
    assert (tmp_path / "a.jpg").read_bytes() == b"old"
    store.write("a.jpg", BytesIO(b"new"), overwrite=True)
    assert (tmp_path / "a.jpg").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


class Breaking(BytesIO):
    """A source that fails in the middle, as a connection that breaks does."""

    def read(self, size: int | None = -1) -> bytes:
        chunk = super().read(3)
        if not chunk:
            raise ConnectionError("gone")
        return chunk


def test_a_write_that_breaks_leaves_nothing_behind(tmp_path: Path) -> None:
    store = fill(tmp_path, "a.jpg", content=b"old")
    for key in ("a.jpg", "b.jpg"):
        with pytest.raises(StoreError):
            store.write(key, Breaking(b"123456"), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]
    assert (tmp_path / "a.jpg").read_bytes() == b"old"


def test_it_says_what_is_in_the_way(tmp_path: Path) -> None:
    store = fill(tmp_path, "a.jpg", "folder/x.jpg")
    with pytest.raises(StoreError, match="“a.jpg” is a file, not a folder"):
        store.write("a.jpg/b.jpg", BytesIO(b"x"))
    with pytest.raises(StoreError, match="directory"):
        store.write("folder", BytesIO(b"x"), overwrite=True)
    with pytest.raises(StoreError, match="too long"):
        store.write("n" * 300 + ".jpg", BytesIO(b"x"))
    with pytest.raises(StoreError, match="is not there"):
        store.open("nothing.jpg")
    with pytest.raises(StoreError, match="is not a file"):
        store.open("folder")
    assert not store.exists("n" * 300)
    assert keys_of(store) == ["a.jpg", "folder/x.jpg"]


def test_it_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(StoreError, match="is not a file"):
        LocalStore(tmp_path).open("pipe.jpg")


def test_deleting_is_no_error_when_it_is_gone(tmp_path: Path) -> None:
    store = fill(tmp_path, "a.jpg")
    store.delete("a.jpg")
    store.delete("a.jpg")
    assert not store.exists("a.jpg")


def test_a_folder_has_no_addresses_and_says_where_files_lie(tmp_path: Path) -> None:
    store = fill(tmp_path, "a/b.jpg")
    assert store.url("a/b.jpg", 60) is None
    assert store.path("a/b.jpg") == tmp_path / "a/b.jpg"

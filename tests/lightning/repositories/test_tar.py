"""A tar that anybody may have made is read as plain files, or refused."""

import io
import subprocess
import tarfile

import pytest

from lightning.errors import InvalidRequest
from lightning.repositories.tar import read_tar

LONG = "/".join(["a folder with a long name"] * 6) + "/grüße " + "x" * 150


def packed(*members, end=True, format=tarfile.PAX_FORMAT, **more):
    """Make a tar of members: a name with a content, or a `TarInfo` with one."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format, **more) as tar:
        for each, content in members:
            info = each if isinstance(each, tarfile.TarInfo) else tarfile.TarInfo(each)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return target.getvalue() if end else target.getvalue().rstrip(b"\0")


def member(name, kind=tarfile.REGTYPE, **fields):
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def header(name, size=0, kind=b"0", **fields):
    """Make one header by hand; `changed` replaces bytes of it at a place, before the sum is written."""
    block = bytearray(member(name, kind, size=size).tobuf(tarfile.USTAR_FORMAT))
    for place, data in fields.get("changed", {}).items():
        block[place : place + len(data)] = data
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def extra(kind, data):
    return header("x", len(data), kind) + data + bytes(-len(data) % 512)


def record(key, value):
    body = b" %s=%s\n" % (key, value)
    size = len(body) + 1
    while len(b"%d" % size) + len(body) != size:
        size += 1
    return b"%d" % size + body


def read(tar):
    return {each.path: each.data for each in read_tar(io.BytesIO(tar))}


def refusal(tar):
    with pytest.raises(InvalidRequest) as refused:
        read(tar)
    return refused.value.code


END = bytes(1024)


class TestUnderstood:
    @pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_what_python_writes(self, format):
        long = LONG[:150] if format == tarfile.USTAR_FORMAT else LONG
        files = {"a.txt": b"one\n", "empty": b"", long: b"x" * 513}
        assert read(packed(*files.items(), format=format)) == files

    @pytest.mark.parametrize("format", ["v7", "oldgnu", "gnu", "ustar", "posix"])
    def test_what_tar_writes(self, tmp_path, format):
        # Given a folder with files and folders, one of them empty
        work = tmp_path / "work"
        (work / "deep" / "er").mkdir(parents=True)
        (work / "none").mkdir()
        (work / "deep" / "er" / "grüße.txt").write_text("hello")
        (work / "run.sh").write_text("#!/bin/sh\n")
        (work / "run.sh").chmod(0o755)
        if format in {"gnu", "oldgnu", "posix"}:
            (work / LONG).parent.mkdir(parents=True)
            (work / LONG).write_text("long")
        # When it is packed as people do
        command = ["tar", f"--format={format}", "-c", "."]
        tar = subprocess.run(command, cwd=work, capture_output=True, check=True, timeout=60).stdout
        # Then its files are read under their own names
        expected = {str(path.relative_to(work)) for path in work.rglob("*") if path.is_file()}
        found = {each.path: each for each in read_tar(io.BytesIO(tar))}
        assert found.keys() == expected
        assert {path for path, each in found.items() if each.executable} == {"run.sh"}

    def test_what_git_writes(self, repository_folder):
        tar = subprocess.run(
            ["git", "archive", "HEAD"], cwd=repository_folder, capture_output=True, check=True, timeout=60
        ).stdout
        assert read(tar) == {"a.txt": b"one\n"}

    def test_a_large_number_in_gnus_way(self):
        changed = {124: b"\x80" + bytes(10) + b"\x05"}
        assert read(header("a", changed=changed) + b"hello" + bytes(507) + END) == {"a": b"hello"}


@pytest.fixture
def repository_folder(tmp_path):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    (tmp_path / "a.txt").write_text("one\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "m"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True, timeout=60)
    return tmp_path


class TestRefused:
    @pytest.mark.parametrize(
        "name",
        [
            *("/etc/passwd", "../x", "a/../../x", "..", "/", "a\\b", "a\nb", "a//b", "././a", "x" * 256),
            *(".git/config", "sub/.GIT/x", ".g\u200cit/x", "git~1"),
        ],
    )
    @pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE])
    def test_a_path_that_leads_elsewhere(self, name, kind):
        assert refusal(packed(("a.txt", b"x"), (member(name, kind), b""))) == "invalid_path"

    def test_a_path_that_is_not_utf8(self):
        assert refusal(packed(("\udcff", b""), format=tarfile.GNU_FORMAT)) == "invalid_path"

    @pytest.mark.parametrize(
        "kind",
        [
            *(tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE),
            *(tarfile.GNUTYPE_SPARSE, b"D", b"M", b"V", b"z"),
        ],
    )
    def test_what_is_no_file(self, kind):
        assert refusal(packed((member("x", kind, linkname="a.txt"), b""))) == "not_a_file"

    @pytest.mark.parametrize("key", [b"GNU.sparse.major", b"GNU.sparse.map", b"GNU.sparse.name"])
    def test_a_sparse_file(self, key):
        said = record(b"GNU.sparse.major", b"1") + record(key, b"0")
        assert refusal(extra(b"x", said) + header("a") + END) == "invalid_tar"

    @pytest.mark.parametrize("key", [b"path", b"size", b"GNU.sparse.major", b"linkpath"])
    def test_a_header_for_all(self, key):
        assert refusal(extra(b"g", record(key, b"1")) + header("a") + END) == "invalid_tar"

    def test_one_name_twice(self):
        assert refusal(packed(("a", b"1"), ("./a", b"2"))) == "invalid_tar"

    def test_one_that_is_cut_off(self):
        # Given a whole tar
        whole = packed(("a", b"x" * 600), ("b", b"1"))[: 512 * 5]
        assert list(read(whole + END)) == ["a", "b"]
        # When it ends too early, wherever, then none of it counts
        for size in range(0, len(whole + END), 512):
            assert refusal((whole + END)[:size]) == "invalid_tar", size
        assert refusal(whole + bytes(512) + b"x" * 512) == "invalid_tar"

    @pytest.mark.parametrize(
        "tar",
        [
            b"",
            b"x" * 10240,
            header("a", changed={124: b"9"}) + END,
            header("a", changed={124: b"-1"}) + END,
            header("a", kind=b"5", changed={124: b"00000000001\0"}) + END,
            header("a", changed={0: b"b"})[:148] + b"0000000\0" + header("a")[156:] + END,
            *(
                extra(b"x", data) + header("a") + END
                for data in [
                    b"1",
                    b"9 a=b\n",
                    b"5 a=b\n",
                    b"0 a=b\n",
                    b"6 aab\n",
                    b"-6 a=b\n",
                    b" a=b\n",
                    b"99999999999999999999 a=b\n",
                    record(b"size", b"-1"),
                    record(b"size", b"1" * 400),
                ]
            ),
            header("x", 65 * 1024, b"x") + bytes(65 * 1024) + header("a") + END,
        ],
    )
    def test_what_is_none(self, tar):
        assert refusal(tar) == "invalid_tar"

    @pytest.mark.parametrize("size", [8 * 1024 * 1024 + 1, 2**33 - 1])
    def test_a_file_that_is_too_large(self, size):
        assert refusal(header("a", size) + END) == "file_too_large"
        said = extra(b"x", record(b"size", b"%d" % size))
        assert refusal(said + header("a") + END) == "file_too_large"

    def test_too_much_together(self):
        many = b"".join(header(f"{n}", 8 << 20) + bytes(8 << 20) for n in range(17))
        assert refusal(many + END) == "archive_too_large"

    @pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE])
    def test_too_many(self, kind):
        many = b"".join(header(f"{n}", kind=kind) for n in range(20_001))
        assert refusal(many + END) == "too_many_files"

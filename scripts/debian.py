"""A file system of this machine's own Debian packages and of our interpreter's libraries, as a tar for an engine."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

BASICS = ("base-files", "bash", "coreutils", "dash", "grep", "libc-bin", "python3", "sed")
UNWANTED = tuple(f"/usr/share/{name}" for name in ("doc", "man", "locale", "info", "lintian", "bug", "bash-completion"))
MANAGED = "EXTERNALLY-MANAGED"
"""By which Debian tells pip to leave Python alone (PEP 668): in an image of ours it need not."""
SITE = "usr/lib/python3/dist-packages"
TEXTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
    "etc/apt/sources.list": "",
}
PIP = "#!/usr/bin/python3\nimport sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n"
FOLDERS = ("tmp", "run", "proc", "sys", "dev", "root", "etc/apt/apt.conf.d", "etc/apt/preferences.d")
FOLDERS += ("var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/log/apt", "var/lib/dpkg/info")


def available() -> bool:
    """Whether this is a Debian whose packages can be taken."""
    return Path("/var/lib/dpkg/status").exists()


def tree(packages: Sequence[str], libraries: Sequence[str] = ()) -> bytes:
    """A tar of these packages (as `closure` has them), known to apt, and of Python libraries, known to pip."""
    taken: dict[str, Path] = {}  # the engine takes no name twice
    links = [f"/{name}" for name in ("bin", "sbin", "lib", "lib64") if Path(f"/{name}").is_symlink()]
    for path in (*links, *sorted(package_files(packages))):
        taken.setdefault(path.lstrip("/"), Path(path))
    for path in alternatives(set(taken)):
        taken.setdefault(path.lstrip("/"), Path(path))
    taken |= {f"{SITE}/{name}": path for name, path in library_files(libraries)}
    taken |= dict(bytecode(taken))
    texts = TEXTS | {"var/lib/dpkg/status": status(packages)} | ({"usr/local/bin/pip": PIP} if libraries else {})
    return packed({name: path for name, path in taken.items() if not name.endswith(MANAGED)}, texts)


def packed(files: Mapping[str, Path], texts: Mapping[str, str]) -> bytes:
    """A tar of files of ours and of texts, which win, with the folders that every system has."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, path in files.items():
            if name not in texts:
                tar.add(path, name, recursive=False)
        for name, text in texts.items():
            add_text(tar, name, text)
        for folder in sorted(set(FOLDERS) - set(files)):
            add_folder(tar, folder)
    return data.getvalue()


def status(packages: Iterable[str]) -> str:
    """What dpkg knows of them (dpkg-query(1)): /var/lib/dpkg/status, the others left out."""
    wanted = {name.partition(":")[0] for name in packages}
    stanzas = Path("/var/lib/dpkg/status").read_text().split("\n\n")
    return "\n\n".join(one for one in stanzas if one.partition("\n")[0].removeprefix("Package: ") in wanted) + "\n"


def closure(wanted: Iterable[str]) -> list[str]:
    """Packages and all that they depend on, as far as it is installed here."""
    form = "${binary:Package}\\t${Package}\\t${Provides}\\t${Pre-Depends}, ${Depends}\\n"
    rows = [line.split("\t") for line in run(["dpkg-query", "-W", "-f", form]).splitlines()]
    by_name: dict[str, list[str]] = {}
    needs: dict[str, str] = {}
    for full, name, provides, depends in rows:
        needs[full] = depends
        for alias in (name, *re.findall(r"[a-z0-9][a-z0-9+.-]+", re.sub(r"\(.*?\)", "", provides))):
            by_name.setdefault(alias, []).append(full)
    found: set[str] = set()
    queue = [full for name in wanted for full in by_name.get(name, ())]
    while queue:
        full = queue.pop()
        if full not in found:
            found.add(full)
            names = re.findall(r"[a-z0-9][a-z0-9+.-]+", re.sub(r"\(.*?\)|:any", "", needs[full]))
            queue += [other for name in names for other in by_name.get(name, ())]
    return sorted(found)


def package_files(packages: list[str]) -> Iterator[str]:
    """What the packages have installed and is still there; documentation is left out."""
    for path in run(["dpkg", "-L", *packages]).splitlines():
        if path.startswith("/") and path != "/." and not path.startswith(UNWANTED) and os.path.lexists(path):
            yield str(Path(path).parent.resolve() / Path(path).name)  # /bin and /lib are links


def alternatives(names: set[str]) -> Iterator[str]:
    """update-alternatives(1): the names, and what they lead to, of programs that are in."""
    for link in Path("/etc/alternatives").iterdir():
        if link.resolve().as_posix().lstrip("/") in names:
            yield str(link)
            for folder in ("/usr/bin", "/usr/sbin"):
                name = Path(folder, link.name)
                if name.is_symlink() and str(name.readlink()) == str(link) and str(name).lstrip("/") not in names:
                    yield str(name)
    yield "/etc/ld.so.cache"


def library_files(wanted: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """The files of these Python libraries and of what they need, all of them pure Python, from our own interpreter."""
    found: set[str] = set()
    queue = list(wanted)
    while queue:
        name = re.sub(r"[-_.]+", "-", queue.pop()).lower()
        if name in found:
            continue
        found.add(name)
        distribution = metadata.distribution(name)
        for file in distribution.files or ():
            path = Path(str(distribution.locate_file(file))).resolve()
            if ".." not in file.parts and "__pycache__" not in file.parts and path.suffix != ".so" and path.is_file():
                yield str(file), path
        plain = [need for need in distribution.requires or () if "extra ==" not in need]
        queue += [match[0] for need in plain if (match := re.match(r"[A-Za-z0-9._-]+", need)) and installed(match[0])]


def bytecode(taken: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """What Python has compiled of them on this machine, which no package lists: it holds as long as its source has the
    same size and time of change, and a tar keeps both. Without it pip compiles itself, a processor-second of six.
    """
    for name, path in taken.items():
        if name.endswith(".py"):
            for cached in path.parent.glob(f"__pycache__/{path.stem}.cpython-*.pyc"):
                yield f"{Path(name).parent}/__pycache__/{cached.name}", cached


def installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(text)
    member.mode = 0o755 if name.startswith("usr/local/bin/") else 0o644
    tar.addfile(member, io.BytesIO(text.encode()))


def add_folder(tar: tarfile.TarFile, name: str) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
    tar.addfile(member)


def run(argv: list[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

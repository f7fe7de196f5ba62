"""A node's root file system on disk: the release installed, FIPS mode set up, nothing running."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Literal

from fipsmanifest.errors import Incomplete
from fipsmanifest.model.definition import Definition

from . import images as oci
from .world import World

Role = Literal["control-plane", "worker"]

_CONTAINERD = "var/lib/containerd"
_BLOBS = f"{_CONTAINERD}/io.containerd.content.v1.content/blobs/sha256"
_SNAPSHOTS = f"{_CONTAINERD}/io.containerd.snapshotter.v1.overlayfs/snapshots"

#: Images that a worker runs; a control-plane node runs all.
_WORKER_IMAGES = ("kube-proxy", "coredns", "pause")

_STATIC_PODS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")


def node_root(
    world: World,
    definition: Definition,
    directory: Path,
    role: Role = "control-plane",
    *,
    architecture: str = "x86_64",
    snapshots: bool = False,
) -> Path:
    """Lay out the root of a node of ``architecture`` with ``definition`` installed, and return ``directory``.

    Packages are unpacked by rpm2cpio and cpio, images are in containerd's content store and, with ``snapshots``, layer
    by layer in its overlayfs snapshots as well. Raises `Incomplete` where one of these programs is missing or fails.
    """
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    for rpm in world.packages(definition, architecture):
        _unpack_rpm(rpm, directory)
    for tarball, target in world.tarballs(definition, architecture):
        with tarfile.open(tarball) as tar:
            _extract(tar, directory / target.lstrip("/"))
    _operating_system(definition.el, directory)
    _fips_mode(definition.el, directory)
    _kubernetes(world, definition, directory, role)
    _content_store(world, definition, directory, role)
    if snapshots:
        _snapshots(world, definition, directory, role, architecture)
    return directory


def _unpack_rpm(rpm: Path, directory: Path) -> None:
    for program in ("rpm2cpio", "cpio"):
        if shutil.which(program) is None:
            raise Incomplete(f"{program} is not installed.", f"On Debian and Ubuntu: apt-get install {program}.")
    with subprocess.Popen(["rpm2cpio", rpm], stdout=subprocess.PIPE) as archive:
        run = subprocess.run(
            [
                "cpio",
                "--extract",
                "--make-directories",
                "--quiet",
                "--no-absolute-filenames",
                "--preserve-modification-time",
            ],
            stdin=archive.stdout,
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
    if archive.returncode != 0 or run.returncode != 0:
        raise Incomplete(f"{rpm.name} could not be unpacked: {run.stderr.strip()}")


def _extract(tar: tarfile.TarFile, directory: Path) -> None:
    # The node's links are absolute: they mean the node's root, and nothing here follows them. Set as an attribute,
    # because Python 3.11 before 3.11.4 has no filters.
    tar.extraction_filter = lambda member, _: member
    tar.extractall(directory)  # noqa: S202 - the demo's own archives


def _operating_system(el: int, directory: Path) -> None:
    version = {7: "7.9", 8: "8.4"}.get(el, f"{el}.0")
    release = (
        f'NAME="Red Hat Enterprise Linux"\nVERSION="{version}"\nID="rhel"\nID_LIKE="fedora"\nVERSION_ID="{version}"\n'
    )
    _write(directory / "etc/os-release", release + f'PLATFORM_ID="platform:el{el}"\n')
    _write(directory / "etc/redhat-release", f"Red Hat Enterprise Linux release {version}\n")


def _fips_mode(el: int, directory: Path) -> None:
    """Write what ``fips-mode-setup --enable`` (EL8, EL9) or its manual steps (EL7) leave on disk."""
    if el < 9:
        _write(directory / "etc/system-fips", "# FIPS module installation complete\n")
    if el == 7:
        _write(directory / "etc/default/grub", 'GRUB_CMDLINE_LINUX="crashkernel=auto fips=1 boot=/dev/vda1"\n')
        menu = (
            "menuentry 'Red Hat Enterprise Linux' {\n  linux16 /vmlinuz-3.10.0-1160.el7 root=/dev/vda2 ro fips=1\n}\n"
        )
        _write(directory / "boot/grub2/grub.cfg", menu)
        _write(directory / "usr/lib/dracut/modules.d/01fips/module-setup.sh", "#!/usr/bin/bash\n")
        _write(directory / "etc/sysconfig/prelink", "PRELINKING=no\n")
        return
    _write(directory / "etc/crypto-policies/config", "FIPS\n")
    _write(directory / "etc/crypto-policies/state/current", "FIPS\n")
    _write(directory / "etc/dracut.conf.d/40-fips.conf", 'add_dracutmodules+=" fips "\n')
    _write(directory / "usr/lib/dracut/modules.d/01fips/module-setup.sh", "#!/usr/bin/bash\n")
    if el > 8:
        _write(directory / "usr/lib64/ossl-modules/fips.so", "OpenSSL's FIPS provider\n")
        _write(directory / "boot/grub2/grub.cfg", "insmod blscfg\nblscfg\n")
        entry = (
            "title Red Hat Enterprise Linux\nlinux /vmlinuz-5.14.0\noptions root=/dev/vda2 ro fips=1 boot=/dev/vda1\n"
        )
        _write(directory / "boot/loader/entries/0123456789abcdef-5.14.0.conf", entry)
        return
    # GRUB's environment block is 1,024 bytes, filled up with '#' (GRUB manual, "Environment block").
    block = "# GRUB Environment Block\nkernelopts=root=/dev/vda2 ro fips=1 boot=/dev/vda1\n"
    _write(directory / "boot/grub2/grubenv", block.ljust(1024, "#"))


def _kubernetes(world: World, definition: Definition, directory: Path, role: Role) -> None:
    _write(directory / "etc/kubernetes/kubelet.conf", "apiVersion: v1\nkind: Config\n")
    if role == "worker":
        return
    references = {_name(image): image.reference for image in world.images_of(definition)}
    for name in _STATIC_PODS:
        if name in references:
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "kube-system"},
                "spec": {"hostNetwork": True, "containers": [{"name": name, "image": references[name]}]},
            }
            # JSON is YAML.
            _write(directory / f"etc/kubernetes/manifests/{name}.yaml", json.dumps(pod, indent=2) + "\n")


def _content_store(world: World, definition: Definition, directory: Path, role: Role) -> None:
    for image in _images(world, definition, role):
        for document in image.documents:
            _blob(directory, document.body)
        for digest in image.blobs:
            _blob(directory, oci.blob_path(world.blobs, digest).read_bytes())


def _snapshots(world: World, definition: Definition, directory: Path, role: Role, architecture: str) -> None:
    platforms = [one for image in _images(world, definition, role) for one in image.platforms]
    digests = [digest for one in platforms if one.architecture == architecture for digest in one.layers]
    for number, digest in enumerate(dict.fromkeys(digests), 1):
        with tarfile.open(oci.blob_path(world.blobs, digest)) as layer:
            _extract(layer, directory / _SNAPSHOTS / str(number) / "fs")


def _images(world: World, definition: Definition, role: Role) -> list[oci.Image]:
    images = world.images_of(definition)
    return [image for image in images if role == "control-plane" or _name(image) in _WORKER_IMAGES]


def _name(image: oci.Image) -> str:
    return image.repository.rpartition("/")[2]


def _blob(directory: Path, content: bytes) -> None:
    path = directory / _BLOBS / hashlib.sha256(content).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

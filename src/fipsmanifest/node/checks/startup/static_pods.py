"""The images, commands, mounts and environment of static pods, as the files at rest define them."""

import posixpath
import re
from typing import AbstractSet, Iterator, List, Optional, Sequence, Set, Tuple

from ....trust.text import visible
from ... import static_pods, tree
from ...result import FAIL, PASS, UNKNOWN, Listed, Node, Result, is_own_program
from ..images.listed import Image, images_of
from . import environment, shell
from .programs import Programs
from .results import result

_LIBRARIES = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/etc/ld.so.preload",
    "/etc/ld.so.cache",
)
_BY_NAME = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/")
OPTIONS = {
    "kube-apiserver": re.compile(r"--(?:etcd-servers|service-cluster-ip-range|enable-admission-plugins)\b"),
    "kube-controller-manager": re.compile(r"--(?:cluster-signing-cert-file|use-service-account-credentials)\b"),
    "kube-scheduler": re.compile(r"--(?:scheduler-name|policy-config-file)\b|=/etc/kubernetes/scheduler\.conf\b"),
    # Go's own package flag, which etcd uses, takes one hyphen as well.
    "etcd": re.compile(r"(?:\A|\s)--?(?:initial-cluster|listen-peer-urls|listen-client-urls)\b"),
}
"""Options that a component's program alone has."""
_TOGETHER = frozenset(
    ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
)  # kubeadm's, of every control plane
_PAUSE = "pause"  # the image of every pod's sandbox
_LAUNCHER = "go-runner"  # of Kubernetes' own images: it starts what its arguments name
_ADVICE = "Name the manifest's image and its own program in {}."


def check(
    node: Node,
    manifests: Sequence[Listed],
    directories: Sequence[Tuple[str, str]],
    programs: Programs,
    required: AbstractSet[str],
) -> List[Result]:
    """Judge the static pods in ``directories`` that are a component's; raises nothing.

    ``required`` are the components of the node's role that no unit starts.
    """
    images = images_of(node, manifests)
    results: List[Result] = []
    started: Set[Optional[str]] = set()
    for directory, _ in directories:
        found, doubts = static_pods.read(node.root, directory)
        for path, why in doubts:
            advice = "Write the pod plainly, or remove the file: the kubelet may start something else than was checked."
            results.append(result(path, UNKNOWN, "a pod that can be read", why, "static-pod", "", advice))
        for pod in found:
            results += _judge_pod(pod, images, programs)
            started.add(component_of(pod, images, programs))
    # Before it has joined a cluster a node has no static pods, and etcd may run elsewhere.
    for name in sorted(_TOGETHER.intersection(required).difference(started)) if _TOGETHER & started else ():
        advice = "Let kubeadm write its static pod, and look for what starts it instead."
        results.append(
            result(name, UNKNOWN, "a static pod or unit that starts it", "none", "no-pod", "", advice, component=name)
        )
    return results


def _judge_pod(pod: static_pods.Pod, images: Sequence[Image], programs: Programs) -> Iterator[Result]:
    component = component_of(pod, images, programs)
    if component is None:
        return
    for container in pod.containers:
        subject = "{} (static pod)".format(pod.name if len(pod.containers) == 1 else pod.name + "/" + container.name)
        fitting = [image for image in images if is_image(container.image, image)]
        own = [image for image in fitting if image.component == component]
        if not own and _component(container, images, programs) not in (None, component) and fitting:
            own = fitting
        judged = _judge_image(subject, pod, container, component, own, images)
        yield judged
        if judged.status == PASS:
            yield from _judge_container(subject, pod, container, component, own, programs)


def component_of(pod: static_pods.Pod, images: Sequence[Image], programs: Programs) -> Optional[str]:
    """Return the component that a pod is, by its name, label, images, commands or options; None for any other pod."""
    known = {image.component for image in images if any(is_own_program(file, image.component) for file in image.files)}
    known |= set(OPTIONS)
    base = posixpath.basename(pod.path).partition(".")[0]
    for name in (pod.component, pod.name, base):
        if name in known:
            return name
    for container in pod.containers:
        found = _component(container, images, programs)
        if found in known:
            return found
    for name in sorted(known, key=len, reverse=True):
        if pod.name.startswith(name + "-"):
            return name
    return None


def _component(container: static_pods.Container, images: Sequence[Image], programs: Programs) -> Optional[str]:
    names = {image.component for image in images}
    if container.name in names:
        return container.name
    # Words may be named by variables, and an option may have underscores (k8s.io/component-base/cli/flag).
    words = [*container.command, *container.arguments, *(one for one in container.environment.values() if one)]
    words += [word.replace("_", "-") for word in words]
    for word in (*container.command, *container.arguments)[:4]:
        name = posixpath.basename(word)
        if name in programs.names and name in names:
            return programs.names[name]
    for name, form in sorted(OPTIONS.items()):
        if any(form.search(word) for word in words):
            return name
    for image in images:
        if is_image(container.image, image) or _repository(container.image) == _repository(image.reference):
            return image.component
    return None


def is_image(reference: str, image: Image) -> bool:
    """Return whether a reference names a listed image: by its digest, or else by its full name and tag."""
    name, _, digest = reference.partition("@")
    if digest:
        return digest in {identity for _, identity in image.identities}
    return _normal(name) == _normal(image.reference.partition("@")[0])


def _normal(reference: str) -> str:
    """Return a reference with its registry (distribution/reference): a first part without dot or colon is none."""
    host, slash, rest = reference.partition("/")
    if not slash:
        return "docker.io/library/" + reference
    if not re.search(r"[.:]", host) and host != "localhost":
        return "docker.io/" + reference
    if host in ("docker.io", "index.docker.io"):
        return "docker.io/" + (rest if "/" in rest else "library/" + rest)
    return reference


def _repository(reference: str) -> str:
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[0]


def _judge_image(
    subject: str,
    pod: static_pods.Pod,
    container: static_pods.Container,
    component: str,
    own: Sequence[Image],
    images: Sequence[Image],
) -> Result:
    expected = visible(" or ".join(one.reference for one in images if one.component == component), 400)
    advice = _ADVICE.format(visible(pod.path))
    if own:
        evidence = {"manifest": own[0].manifest, "image": visible(container.image, 300)}
        return result(subject, PASS, own[0].reference, container.image, "", pod.path, component=component, **evidence)
    tail = _last_part(container.image)
    mirrored = any(tail == _last_part(one.reference) for one in images if one.component == component)
    if mirrored and "@" not in container.image:
        # A mirror's name says nothing of what is behind it; the images check knows the content by its digest.
        advice = "Name the image by the manifest's reference or digest in {}.".format(visible(pod.path))
        return result(
            subject, UNKNOWN, expected, container.image, "mirrored-image", pod.path, advice, component=component
        )
    if container.kind == "init container" or (len(pod.containers) > 1 and container.name != component):
        return result(subject, UNKNOWN, expected, container.image, "sidecar", pod.path, advice, component=component)
    return result(subject, FAIL, expected, container.image, "unlisted-image", pod.path, advice, component=component)


def judge_sandboxes(node: Node, manifests: Sequence[Listed], configured: Sequence[Tuple[str, str]]) -> Iterator[Result]:
    """Judge the image that containerd is configured to start every pod's sandbox from; raises nothing.

    A mirror's name says nothing of what is behind it; what runs on a live node is known by its digest.
    """
    own = [one for one in images_of(node, manifests) if _PAUSE in (one.component, _repository(one.reference))]
    for reference, path in dict.fromkeys(configured) if own else ():
        expected = visible(" or ".join(one.reference for one in own), 400)
        mirrored = "@" not in reference and any(_last_part(reference) == _last_part(one.reference) for one in own)
        advice = _ADVICE.format(visible(path))
        if any(is_image(reference, one) for one in own):
            yield result("sandbox_image", PASS, expected, reference, "", path, component=own[0].component)
        elif not mirrored or not node.live:
            status, code = (UNKNOWN, "mirrored-image") if mirrored else (FAIL, "unlisted-image")
            yield result("sandbox_image", status, expected, reference, code, path, advice, component=own[0].component)


def _last_part(reference: str) -> str:
    return reference.partition("@")[0].rpartition("/")[2]


def _judge_container(
    subject: str,
    pod: static_pods.Pod,
    container: static_pods.Container,
    component: str,
    own: Sequence[Image],
    programs: Programs,
) -> Iterator[Result]:
    files = [file for image in own for file in image.files if is_own_program(file, image.component)]
    paths = sorted({str(file.get("path")) for file in files})
    # A name alone is looked for in all directories of PATH: a volume at an earlier one may have the program as well.
    called = [word for word in container.command[:1] if "/" not in word]
    places = [*paths, *_LIBRARIES, *(posixpath.join(directory, word) for word in called for directory in _BY_NAME)]
    searched = container.environment.get("PATH", "") if "PATH" in container.environment else ""
    if searched is None or any(one not in _BY_NAME for one in _before_own(searched, paths)):
        fix = "Remove PATH there, or name the program by its path."
        actual = "PATH={}".format("(from elsewhere)" if searched is None else searched)
        yield result(subject, UNKNOWN, None, actual, "environment", pod.path, fix, component=component)
    if pod.devices:
        fix = "Remove it: a device of that kind may bring mounts, hooks and variables (CDI, device plugins)."
        actual = ", ".join(pod.devices[:4])
        yield result(subject, UNKNOWN, None, actual, "every-container", pod.path, fix, component=component)
    advice = _ADVICE.format(visible(pod.path))
    doubt = _judge_command(container, paths)
    if doubt is not None:
        status, actual = doubt
        expected = " or ".join(paths)
        yield result(subject, status, expected, actual, "other-program", pod.path, advice, component=component)
    for mount in container.mounts:
        covered = [path for path in places if _is_below(path, mount)]
        covered += [mount for library in _LIBRARIES if _is_below(mount, library)]
        if covered:
            actual = "a volume at {} covers {}".format(mount, covered[0])
            fix = "Remove that volume mount in {}: it hides what the image holds.".format(visible(pod.path))
            yield result(
                subject, FAIL, "the image's own files", actual, "mounted-over", pod.path, fix, component=component
            )
    for hook in container.hooks:
        if not _is_own(hook, paths):
            fix = "Find out what it does, or remove it in {}.".format(visible(pod.path))
            yield result(subject, UNKNOWN, None, "also starts " + hook, "hook", pod.path, fix, component=component)
    yield from environment.judge(subject, container.environment, pod.path, component, programs)


def _before_own(searched: str, paths: Sequence[str]) -> List[str]:
    """Return the directories of PATH that are searched before one of a listed program."""
    found: List[str] = []
    for directory in searched.split(":") if searched else ():
        if any(posixpath.dirname(path) == directory for path in paths):
            break
        found.append(directory)
    return found


def _judge_command(container: static_pods.Container, paths: Sequence[str]) -> Optional[Tuple[str, str]]:
    """Return what is wrong with what a container starts; None where it is a listed program, or the image's own."""
    words = list(container.command + container.arguments)
    if not container.command:
        # The image's entry point gets the arguments; without one, the first of them is the program.
        if not words or words[0].startswith("-") or _is_own(words[0], paths):
            return None
        return UNKNOWN, "its arguments begin with {}".format(words[0])
    if posixpath.basename(words[0]) == _LAUNCHER and _is_own(words[0], paths):
        words = [word for word in words[1:] if not word.startswith("-")] or words
    if _is_own(words[0], paths):
        return None
    if "$(" in words[0] or shell.is_wrapper(words[0]):
        named = any(_is_own(word, paths) for word in words[1:])
        return UNKNOWN if named else FAIL, "its command is {}".format(" ".join(words[:3]))
    return FAIL, "its command is {}".format(words[0])


def _is_own(word: str, paths: Sequence[str]) -> bool:
    if "/" in word:
        # It may lead through a volume.
        return not tree.leads_up(word) and posixpath.normpath(word) in paths
    return any(posixpath.join(directory, word) in paths for directory in _BY_NAME)


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")

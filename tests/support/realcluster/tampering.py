"""Changes of a node that are undone again: shell scripts with a few functions that record how."""

from __future__ import annotations

from .machine import Machine

#: What `tamper` defines for the scripts. Each function first records the command that undoes it; the last comes first.
_FUNCTIONS = r"""
kept=/var/.kept
undo() {
  mkdir -p $kept
  { printf '%s\n' "$1"; cat $kept/undo 2>/dev/null || :; } >$kept/undo.new
  mv $kept/undo.new $kept/undo
}
number() { n=$(($(cat $kept/number 2>/dev/null || echo 0) + 1)); mkdir -p $kept; echo $n >$kept/number; echo $n; }

# replace FILE SOURCE: another file in its place; what runs goes on from the one that was there.
replace() {
  n=$(number)
  undo "mv -f $kept/$n $1"
  mv "$1" "$kept/$n"
  cp "$2" "$1"
  chmod 0755 "$1"
}
# changed FILE SOURCE: the source with one more byte.
changed() { cp "$2" "$1.new"; printf x >>"$1.new"; chmod 0755 "$1.new"; mv "$1.new" "$1"; }
# put FILE: what is read becomes the file's content; its owner and mode stay.
put() {
  if [ -e "$1" ]; then
    n=$(number)
    cp "$1" "$kept/$n"
    undo "cat $kept/$n >$1"
  else
    undo "rm -f $1"
    mkdir -p "${1%/*}"
  fi
  cat >"$1"
}
# edit FILE SCRIPT: what sed makes of it.
edit() { sed "$2" "$1" >$kept.edited; put "$1" <$kept.edited; rm $kept.edited; }
# append FILE TEXT
append() { n=$(number); cp "$1" "$kept/$n"; undo "cat $kept/$n >$1"; printf %s "$2" >>"$1"; }
# spawn COMMAND...: it runs until this is undone.
spawn() { setsid "$@" </dev/null >>/var/log/spawned 2>&1 & undo "kill -9 -$! || :"; sleep 0.3; }
# snapshots NAME: where an image is unpacked that has such a file; what containers wrote has higher numbers.
snapshots() { ls -dv /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/*/fs/$1 | head -n 1; }
# pids NAME: processes of that name.
pids() { for one in /proc/[0-9]*; do [ "$(cat "$one/comm" 2>/dev/null)" != "$1" ] || echo "${one#/proc/}"; done; }
# await COMMAND: wait until it succeeds.
await() {
  for _ in $(seq 1500); do if sh -c "$1" >/dev/null 2>&1; then return; fi; sleep 0.2; done
  echo "never: $1"
  exit 1
}
# pod NAME PORT SCRIPT [PROGRAM]: what sed makes of a static pod, once its program runs and answers at a port.
pod() {
  name=$(printf %.15s "$1")
  healthy="curl -skf -o /dev/null https://127.0.0.1:$2/healthz"
  # A container that was started twice in that time has two processes, of which one ends.
  undo "for one in \$(cat $kept/$1); do tail --pid=\$one -f /dev/null; done
    until pgrep -x $name && $healthy; do sleep 0.2; done"
  await "pgrep -x $name"
  old=$(pids $name)
  edit /etc/kubernetes/manifests/$1.yaml "$3"
  await "! test -e /proc/$old"
  await "pgrep -x ${4-$name} && $healthy"
  pids ${4-$name} >$kept/$1
}
# static_pod NAME IMAGE COMMAND [DIRECTORY]: a container of this name in a static pod of one's own.
static_pod() {
  put /etc/kubernetes/manifests/site-$1.yaml <<POD
apiVersion: v1
kind: Pod
metadata: {name: site-$1, namespace: kube-system}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
  - name: $1
    image: $2
    imagePullPolicy: Never
    command: [$3]
    volumeMounts: [{mountPath: ${4-/site}, name: site}]
  volumes: [{name: site, hostPath: {path: ${4-/srv}}}]
POD
  await 'pgrep -f ^/opt/agent'
}
# own REFERENCE PROGRAM: an image of one's own, with the program at /opt/agent.
own() {
  at=$(mktemp -d /var/tmp/own.XXXXXX)
  umoci init --layout $at/image
  umoci new --image $at/image:${1##*:}
  umoci insert --image $at/image:${1##*:} $2 /opt/agent
  load $at $1
}
# own_of NAME: a listed image with one more file, as registry.example/site/NAME:1.
own_of() {
  at=$(mktemp -d /var/tmp/own.XXXXXX)
  registry=$(sed -n 's#.*http://\([^/]*\)/v2/docker.io.*#\1#p' /etc/containerd/config.toml)
  listed=$(sed -n 's#^ *image: docker.io/##p' /etc/kubernetes/manifests/$1.yaml)
  copy="skopeo --insecure-policy copy --quiet --src-tls-verify=false --format oci"
  $copy docker://$registry/docker.io/$listed oci:$at/image:listed
  umoci insert --image $at/image:listed --tag 1 /etc/hostname /etc/site
  umoci rm --image $at/image:listed
  load $at registry.example/site/$1:1
}
# load DIRECTORY REFERENCE: containerd gets the image in the directory.
load() {
  undo "rm -rf $1; ctr -n k8s.io images rm $2"
  tar -C $1/image -cf $1/image.tar .
  ctr -n k8s.io images import --base-name ${2%:*} $1/image.tar
}
# retag NAME OTHER: the name leads to what the other one leads to.
retag() {
  ctr -n k8s.io images tag $1 kept.example/$1
  undo "ctr -n k8s.io images tag --force kept.example/$1 $1; ctr -n k8s.io images rm kept.example/$1"
  ctr -n k8s.io images tag --force $2 $1
}
# with_mount SOURCE TARGET: the sed script that mounts what is on the node into a static pod.
with_mount() {
  printf '%s' "s#^  volumes:#  volumes:\\n  - hostPath: {path: $1}\\n    name: site#;" \
    "s#^    volumeMounts:#    volumeMounts:\\n    - mountPath: $2\\n      name: site#"
}
"""


def tamper(machine: Machine, script: str) -> None:
    """Change a node."""
    machine.sh(_FUNCTIONS + script)


def undo(machine: Machine) -> None:
    """Undo what was changed since the last time."""
    machine.sh("if [ -e /var/.kept/undo ]; then sh -e /var/.kept/undo; fi; rm -rf /var/.kept")

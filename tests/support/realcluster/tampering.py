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
spawn() { setsid "$@" </dev/null >>/var/log/spawned 2>&1 & undo "kill -9 -- -$! || :"; sleep 0.3; }
# snapshots NAME: where images are unpacked that have such a file.
snapshots() { ls -d /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/*/fs/$1; }
# pids NAME: processes of that name.
pids() { for one in /proc/[0-9]*; do [ "$(cat "$one/comm" 2>/dev/null)" != "$1" ] || echo "${one#/proc/}"; done; }
# await COMMAND: wait until it succeeds.
await() {
  for _ in $(seq 300); do if sh -c "$1" >/dev/null 2>&1; then return; fi; sleep 0.2; done
  echo "never: $1"
  exit 1
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

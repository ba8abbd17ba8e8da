#!/bin/bash
# From what is installed to a replicated, watched volume: a witness, three sites and a host, each in a network namespace of its own on this machine, so
# that links are real and can be cut. Needs root, iproute2, curl and qemu-utils. Everything that it makes it takes away again.
#
#   examples/three-namespaces.sh                # with `tercet` and `tercetd` from PATH
#   TERCET_BIN=/path/to/bin examples/three-namespaces.sh
#
# Exit code 77: it is not possible here, and why.
set -euo pipefail

impossible() {
  echo "not possible here: $1"
  exit 77
}
[ "$(id -u)" = 0 ] || impossible 'network namespaces are made by root only'
for program in ip curl qemu-img qemu-io; do command -v $program > /dev/null || impossible "$program is missing"; done
PATH="${TERCET_BIN:+$TERCET_BIN:}$PATH"
command -v tercet > /dev/null && command -v tercetd > /dev/null || impossible 'tercet and tercetd are not in PATH'

run=tct$$
dir=$(mktemp -d /tmp/tercet-ns-XXXXXX)
pids=()
spaces=()
finish() {
  code=$?
  trap - EXIT
  if [ $code != 0 ] && [ $code != 77 ]; then tail -n 15 "$dir"/*.log || true; fi
  for pid in "${pids[@]}"; do kill "$pid" 2> /dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2> /dev/null || true; done
  for space in "${spaces[@]}"; do ip netns del "$space" || true; done
  rm -rf "$dir"
  exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

step() { echo; echo "== $1"; }
# Runs something in a namespace.
in_space() { ip netns exec "$run-$1" "${@:2}"; }
# Waits until a command succeeds.
wait_for() {
  for _ in $(seq 300); do
    if "${@:2}" > "$dir/last" 2>&1; then return 0; fi
    sleep 0.3
  done
  echo "this did not come about: $1"
  cat "$dir/last"
  return 1
}
says() {
  tercet status > "$dir/said" 2>&1 || true
  grep -q "$1" "$dir/said"
}
# Not by in_space: what is ended later must be the program, and not a shell around it.
start() {
  ip netns exec "$run-$1" "${@:2}" 2> "$dir/$1.log" > /dev/null &
  pids+=($!)
}

step 'five network namespaces on a switch of their own'
ip netns add "$run-hub" || impossible 'this system does not allow network namespaces'
spaces+=("$run-hub")
in_space hub ip link add switch type bridge || impossible 'this system has no bridges'
in_space hub ip link set switch up
number=0
for name in alpha beta gamma witness host; do
  number=$((number + 1))
  ip netns add "$run-$name"
  spaces+=("$run-$name")
  in_space hub ip link add "to-$name" type veth peer name net netns "$run-$name"
  in_space hub ip link set "to-$name" master switch up
  in_space "$name" ip addr add "10.77.0.$number/24" dev net
  in_space "$name" ip link set net up
  in_space "$name" ip link set lo up
done

step 'one configuration for all of them'
export TERCET_CONFIG=$dir/tercet.toml
{
  echo 'insecure = true # these networks end on this machine'
  printf '[witness]\naddress = "10.77.0.4:7400"\n'
  number=0
  for site in alpha beta gamma; do
    number=$((number + 1))
    mkdir "$dir/$site"
    printf '[site.%s]\ndata = "%s"\nlink = "10.77.0.%s:7410"\nnbd = ["10.77.0.%s:10809"]\n' $site $site $number $number
    printf 'control = "unix:%s/%s.sock"\npage = "10.77.0.%s:7480"\n' "$dir" $site $number
  done
  printf '[group.db]\nsites = ["alpha", "beta", "gamma"]\nasync = ["gamma"]\nrpo_seconds = 30\n'
  printf 'segment_mib = 4\nsidefile_mib = 128\ndestage_backlog_mib = 16\n'
  printf '[[group.db.volume]]\nname = "disk0"\nsize = "32MiB"\n'
} > "$TERCET_CONFIG"
tercet check-config

step 'a witness and three daemons'
start witness tercet witness run --data "$dir/witness" --listen 10.77.0.4:7400 --insecure
for site in alpha beta gamma; do start $site tercetd --site $site; done
wait_for 'every daemon answers' says 'not created yet'

step 'a group, mirrored'
tercet create db
wait_for 'all is well' tercet status
tercet status

step 'a host writes an image'
head -c 33554432 /dev/urandom > "$dir/image"
in_space host qemu-img convert -n -f raw -O raw "$dir/image" nbd://10.77.0.1:10809/db/disk0
wait_for 'all is well' tercet status

step 'it is watched: metrics and the page'
curl() { in_space host "$(type -P curl)" -sf "$@"; }
curl http://10.77.0.1:7480/metrics > "$dir/metrics"
grep -E '^tercet_(serving|mirrored|rpo_target_seconds|rpo_seconds)' "$dir/metrics"
curl http://10.77.0.1:7480/ | grep -q '<title>Tercet</title>'

step 'the link of the serving site is cut; the near one takes over, and the host goes on'
start host tercet attach db/disk0 --socket "$dir/disk0.sock"
disk="nbd+unix:///?socket=$dir/disk0.sock"
wait_for 'the volume is attached' in_space host qemu-img info "$disk"
in_space hub ip link set to-alpha down
in_space host qemu-io -f raw -c 'write -P 0x5a 1M 64k' -c 'flush' "$disk" > "$dir/qemu-io"
cat "$dir/qemu-io"
wait_for 'beta serves' says 'beta serves'
tercet status || true

step 'the link is mended; the old one follows'
in_space hub ip link set to-alpha up
wait_for 'all is well' tercet status
tercet status

step 'what the host wrote is there, byte for byte'
head -c 65536 /dev/zero | tr '\0' '\132' | dd of="$dir/image" bs=64k seek=16 conv=notrunc status=none
in_space host qemu-img compare -f raw -F raw "$dir/image" "$disk"

step 'what monitoring sees: one site serves, in the second epoch, both others hold everything, and the target of data at risk is kept'
# A site that has nothing to say of a value leaves it out.
metric() { curl "http://10.77.0.$1:7480/metrics" | sed -n "s/^tercet_$2 //p"; }
watched() {
  [ "$(metric 1 'serving{group="db"}')$(metric 2 'serving{group="db"}')$(metric 3 'serving{group="db"}')" = 010 ] &&
    [ "$(metric 2 'epoch{group="db"}')" = 2 ] && [ "$(metric 2 'mirrored{group="db"}')" = 1 ] &&
    [ "$(metric 2 'peer_lag_records{group="db",peer="alpha"}')" = 0 ] && [ "$(metric 2 'peer_lag_records{group="db",peer="gamma"}')" = 0 ] &&
    [ "$(metric 2 'rpo_breached{group="db",peer="gamma"}')" = 0 ]
}
wait_for 'the metrics say so' watched
curl http://10.77.0.2:7480/metrics | grep -E '^tercet_(serving|epoch|mirrored|peer_lag_records|rpo_seconds|rpo_breached)'

step 'done'

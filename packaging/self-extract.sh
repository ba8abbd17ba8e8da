#!/bin/sh
# Tercet in one file: unpacks itself once, below $TERCET_UNPACK or the user's cache, and runs from there.
#   tercet.run status         as `tercet status`
#   tercet.run tercetd ...    as `tercetd ...`
set -e
digest=DIGEST
folder=${TERCET_UNPACK:-${XDG_CACHE_HOME:-$HOME/.cache}/tercet}/$digest
if [ ! -e "$folder/complete" ]; then
  part=$folder.$$
  mkdir -p -m 700 "$part"
  tail -n +LINES "$0" | tar -xzf - -C "$part" --strip-components=1
  : >"$part/complete"
  # Whoever is second keeps the first one's.
  mv -T "$part" "$folder" 2>/dev/null || rm -rf "$part"
fi
program=tercet
if [ "$1" = tercetd ]; then program=tercetd; shift; fi
exec "$folder/bin/$program" "$@"

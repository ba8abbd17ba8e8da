#!/bin/sh
# Starts PROGRAM of this package on the Node.js that came with it.
lib=$(dirname -- "$(readlink -f -- "$0")")/../lib/tercet
exec "$lib/bin/node" "$lib/bin/PROGRAM.js" "$@"

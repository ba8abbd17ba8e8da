#!/usr/bin/env node
// The command `tercetd`, one site's daemon: starts src/daemon/main.ts on a Node.js that can run it.

import { launch } from './launch.js';

launch('daemon/main');

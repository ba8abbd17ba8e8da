#!/usr/bin/env node
// The command `tercet`: starts src/cli/main.ts on a Node.js that can run it.

import { launch } from './launch.js';

launch('cli/main');

// Loaded before a daemon (`--import`), and by a test that asks one: the witness is made to write twice a second in place of once a minute, so that a test
// sees within seconds that it writes nothing.

import { limits } from '../../src/core/base/limits.ts';

Object.assign(limits, { witnessProveMillis: 500, witnessProofMillisMax: 3_000 });

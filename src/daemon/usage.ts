// What `tercetd --help` prints, which is also in its manual page.

import { CONFIG_FILE_DEFAULT } from '../api/program.ts';

/** Of tercetd. */
export const USAGE: string = `usage: tercetd --site NAME [--config FILE] [--check-config]

  --site NAME      the site of the configuration whose daemon this is
  --config FILE    default: $TERCET_CONFIG, or ${CONFIG_FILE_DEFAULT}
  --check-config   read the configuration, and with --site its certificates; report every fault, and end
  --version, --help`;

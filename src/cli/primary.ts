// Which site of a group is primary, for orders that only the primary takes.

import { TercetError } from '../core/base/errors.ts';
import type { SiteName } from '../core/base/units.ts';
import type { LoadedConfig } from './context.ts';
import { clientOf } from './context.ts';

/** Asks each of the sites that can be reached from here. Throws TERCET_NOT_IN_STATE when none says that it is primary. */
export async function primaryOf(config: LoadedConfig, group: string, sites: readonly SiteName[]): Promise<SiteName> {
  for (const site of sites) {
    try {
      const status = await (await clientOf(config, site)).status();
      if (status.groups.some((each) => each.group === group && each.role === 'primary')) return site;
    } catch (error) {
      // A site that does not answer is not where the order can be given; the next one may be.
      if (!(error instanceof TercetError)) throw error;
    }
  }
  throw new TercetError('TERCET_NOT_IN_STATE', { what: `group ${group}`, reason: 'none of its sites says that it is primary' });
}

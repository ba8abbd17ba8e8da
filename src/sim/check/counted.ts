// A sidefile of a fixed count of records: no more than that are kept for a copy, but for the moment between two turns.

import type { SiteName } from '../../core/base/units.ts';
import type { Rule } from './observe.ts';

/** A turn that was owed has come by then. */
const TURN_MILLIS = 50;

/** The oracle of the count. */
export function counted(): Rule {
  const since = new Map<SiteName, number>();
  return {
    name: '22 record count',
    afterEvent: (scene, { name, inside }) => {
      const over =
        inside === null || inside.recordsMax === 0 ? undefined : inside.counted.find(({ records }) => records > inside.recordsMax);
      if (over === undefined) {
        since.delete(name);
        return;
      }
      const { now } = scene.world;
      if (!since.has(name)) since.set(name, now);
      if (now - (since.get(name) ?? now) > TURN_MILLIS)
        scene.world.fail(
          '22 record count',
          `${name} keeps ${over.records} records for ${over.site}, and ${inside?.recordsMax} are to be kept`,
        );
    },
  };
}

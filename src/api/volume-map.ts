// GET /v1/groups/GROUP/map: a volume seen from above, in a bounded number of cells. Described in docs/reference/api.md.

import type { Hono } from 'hono';

import { TercetError } from '../core/base/errors.ts';
import type { VolumeMap } from '../core/site/volume-map.ts';

export type { VolumeMap } from '../core/site/volume-map.ts';

/** Cells of one answer at most, and unless something else is asked for. */
const MAP_CELLS_MAX = 4096;
const MAP_CELLS_DEFAULT = 1024;

/** Adds the route. `map` throws TERCET_NO_SUCH_GROUP, and answers null for a volume that the group does not have. */
export function addMapRoute(app: Hono, map: (group: string, volume: string | null, cellsMax: number) => Promise<VolumeMap | null>): void {
  app.get('/v1/groups/:group/map', async (c) => {
    const cells = Number(c.req.query('cells') ?? String(MAP_CELLS_DEFAULT));
    const refuse = (reason: string): never => {
      throw new TercetError('TERCET_BAD_REQUEST', { what: 'the control API', reason });
    };
    if (!Number.isSafeInteger(cells) || cells < 1 || cells > MAP_CELLS_MAX) refuse(`cells must be a number from 1 to ${MAP_CELLS_MAX}`);
    const group = c.req.param('group');
    const found = await map(group, c.req.query('volume') ?? null, cells);
    return c.json(found ?? refuse(`group ${group} has no such volume`), 200);
  });
}

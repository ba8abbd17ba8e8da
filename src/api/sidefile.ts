// GET /v1/groups/GROUP/sidefile: a site's sidefile record by record. Described in docs/reference/api.md.

import type { Hono } from 'hono';
import * as z from 'zod';

import { TercetError } from '../core/base/errors.ts';
import type { SidefileReport } from '../core/site/sidefile-report.ts';

export type { SidefileReport } from '../core/site/sidefile-report.ts';

/** Records of one answer at most. */
const SIDEFILE_RECORDS_MAX = 10_000;

const count = z.int().min(0);

/** Schema of the answer. */
export const sidefileSchema: z.ZodType<SidefileReport> = z.object({
  group: z.string(),
  site: z.string(),
  role: z.enum(['starting', 'absent', 'standby', 'claiming', 'primary', 'joining', 'mirror', 'failed', 'stopped']),
  epoch: count,
  sidefileIn: z.enum(['disk', 'memory']).default('disk'),
  oldest: count,
  received: count,
  destaged: count,
  holders: z.array(
    z.object({
      site: z.string(),
      durable: count.nullable(),
      waiting: z.array(z.object({ from: count, to: count })).default([]),
      knownTo: z.array(z.object({ site: z.string(), durable: count.nullable() })),
    }),
  ),
  records: z.array(
    z.object({
      seq: count,
      epoch: count,
      timeMillis: z.number(),
      volume: z.string(),
      offset: count,
      length: count,
      kind: z.enum(['write', 'zeroes', 'trim']),
      checksum: z.enum(['right', 'wrong', 'void', 'folded']),
    }),
  ),
});

/** Adds the route. `report` throws TERCET_NO_SUCH_GROUP, and returns null when there is no copy to read. */
export function addSidefileRoute(
  app: Hono,
  report: (group: string, range: { from: number; count: number }) => SidefileReport | null | Promise<SidefileReport | null>,
): void {
  app.get('/v1/groups/:group/sidefile', async (c) => {
    const from = Number(c.req.query('from') ?? '0');
    const records = Number(c.req.query('count') ?? '1000');
    if (!Number.isSafeInteger(from) || from < 0 || !Number.isSafeInteger(records) || records < 0 || records > SIDEFILE_RECORDS_MAX) {
      throw new TercetError('TERCET_BAD_REQUEST', {
        what: 'the control API',
        reason: `from must be a sequence number, and count at most ${SIDEFILE_RECORDS_MAX}`,
      });
    }
    const group = c.req.param('group');
    const answer = await report(group, { from, count: records });
    if (answer === null)
      throw new TercetError('TERCET_BAD_REQUEST', { what: 'the control API', reason: `group ${group} has no copy here that can be read` });
    return c.json(answer, 200);
  });
}

// The order to read the configuration again, in the control API.

import type { Hono } from 'hono';
import * as z from 'zod';

import { TercetError } from '../core/base/errors.ts';
import { faultsOf, type ReloadLine } from './schema.ts';

/** Body of POST /v1/reload. Programs of before leave both out. */
const bodySchema: z.ZodType<{ force?: boolean; dryRun?: boolean }> = z.strictObject({
  force: z.boolean().exactOptional(),
  dryRun: z.boolean().exactOptional(),
});

/** Adds the route. */
export function addReloadRoute(app: Hono, reload: (order: { force: boolean; dryRun: boolean }) => ReloadLine): void {
  app.post('/v1/reload', async (c) => {
    const text = await c.req.text();
    let value: unknown;
    try {
      value = text === '' ? {} : JSON.parse(text);
    } catch (cause) {
      const reason = `the body is not JSON (${cause instanceof Error ? cause.message : String(cause)})`;
      throw new TercetError('TERCET_BAD_REQUEST', { what: 'the control API', reason }, { cause });
    }
    const parsed = bodySchema.safeParse(value);
    if (!parsed.success) throw new TercetError('TERCET_BAD_REQUEST', { what: 'the control API', reason: faultsOf(parsed.error) });
    return c.json(reload({ force: parsed.data.force === true, dryRun: parsed.data.dryRun === true }), 200);
  });
}

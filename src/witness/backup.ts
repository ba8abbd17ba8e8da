// A witness's groups in one file, and back. What comes back is not believed as it is: the witness that it is given to has another name, so it grants
// nothing until the copies have told it what they have done since. The backup only spares it to be told who the copies are, and is a lower bound.

import { z } from 'zod';
import { stateFault } from '../core/arbiter/witness-rules.ts';
import type { WitnessState } from '../core/arbiter/witness-state.ts';
import { TercetError } from '../core/base/errors.ts';
import { faultsOf, stateSchema } from './schema.ts';
import type { WitnessStore } from './store.ts';

/** The only form so far. */
const BACKUP_FORMAT = 1;

/** What GET /v1/backup answers. */
export interface WitnessBackup {
  readonly format: typeof BACKUP_FORMAT;
  /** Name of the witness that it was taken of. */
  readonly instance: string;
  readonly groups: readonly WitnessState[];
}

const backupSchema: z.ZodType<WitnessBackup> = z.strictObject({
  format: z.literal(BACKUP_FORMAT),
  instance: z.string().min(1),
  groups: z.array(stateSchema),
});

/** The groups of a witness as a backup. */
export function backupOf(instance: string, states: Iterable<WitnessState>): WitnessBackup {
  const groups = [...states].sort((a, b) => (a.group < b.group ? -1 : 1));
  return { format: BACKUP_FORMAT, instance, groups };
}

/** Reads a backup. `file`: what it is called in the error. */
export function parseBackup(text: string, file: string): WitnessBackup {
  const damaged = (reason: string): TercetError => new TercetError('TERCET_WITNESS_DAMAGED', { file, reason });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw damaged(`it is not JSON: ${(cause as Error).message}`);
  }
  const parsed = backupSchema.safeParse(value);
  if (!parsed.success) throw damaged(faultsOf(parsed.error));
  const names = new Set(parsed.data.groups.map(({ group }) => group));
  if (names.size !== parsed.data.groups.length) throw damaged('it holds a group twice');
  for (const state of parsed.data.groups) {
    const fault = stateFault(state);
    if (fault !== null) throw damaged(`group ${state.group} breaks a rule: ${fault}`);
  }
  return parsed.data;
}

/** Puts a backup into a store without groups. Throws TERCET_NOT_IN_STATE when it has any. Returns how many there are. */
export async function restoreBackup(store: WitnessStore, backup: WitnessBackup): Promise<number> {
  const held = await store.readAll();
  if (held.size > 0) {
    const reason = `it holds ${held.size} groups already; restore into an empty folder`;
    throw new TercetError('TERCET_NOT_IN_STATE', { what: 'the backup was not restored', reason });
  }
  for (const state of backup.groups) {
    await store.compareAndSet(state.group, null, state);
  }
  return backup.groups.length;
}

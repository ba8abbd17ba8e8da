// What the witness accepts from the network and from its own disk, checked field by field before anything is done with it. The types are
// those of core/arbiter/witness-state.ts; the compiler checks that the schemas give exactly them.

import { z } from 'zod';
import {
  type CopyMode,
  REFUSAL_REASONS,
  type WitnessAnswer,
  type WitnessOperation,
  type WitnessState,
  type WitnessView,
} from '../core/arbiter/witness-state.ts';
import type { CopyReport, HeardReport } from '../core/arbiter/seeding.ts';
import { limits } from '../core/base/limits.ts';

const NAME_TEXT = `1 to ${limits.nameCharsMax} of a-z, 0-9 and '-'`;

/** Name of a group or a site. */
export const nameSchema: z.ZodString = z.string().regex(new RegExp(`^[a-z0-9-]{1,${limits.nameCharsMax}}$`), NAME_TEXT);

/** An id that somebody made up: of a request, a group, a witness. No spaces, so that it can stand in a line. */
const idSchema = z
  .string()
  .regex(new RegExp(`^[A-Za-z0-9_.:-]{1,${limits.requestIdCharsMax}}$`), `1 to ${limits.requestIdCharsMax} of letters, digits and _ . : -`);
const countSchema = z.int().min(0);
const modeSchema: z.ZodType<CopyMode> = z.enum(['sync', 'async']);

function distinct(copies: readonly { readonly site: string }[]): boolean {
  return new Set(copies.map((copy) => copy.site)).size === copies.length;
}

const request = {
  requestId: idSchema,
  group: nameSchema,
  from: nameSchema,
  seen: z.strictObject({ instance: idSchema, revision: countSchema }).exactOptional(),
};
const change = { ...request, revision: countSchema };
const copiesSchema = z
  .array(z.strictObject({ site: nameSchema, mode: modeSchema }))
  .min(1)
  .max(limits.groupSitesMax)
  .refine(distinct, 'each copy is at a site of its own');
const reportFields = {
  site: nameSchema,
  epoch: countSchema,
  revision: countSchema,
  role: z.enum(['primary', 'following', 'waiting']),
  mayBeTrue: z.array(nameSchema).max(limits.groupSitesMax),
  end: z.strictObject({ epoch: countSchema, seq: countSchema, chain: countSchema }).nullable(),
  life: z.string().max(64),
};
const reportSchema: z.ZodType<CopyReport> = z.strictObject(reportFields);
const heardSchema: z.ZodType<HeardReport> = z.strictObject({ ...reportFields, confirmed: z.boolean() });

/** An operation, with no field too many. */
export const operationSchema: z.ZodType<WitnessOperation> = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('create'),
    ...request,
    groupId: idSchema,
    copies: copiesSchema,
    first: nameSchema,
  }),
  z.strictObject({ kind: z.literal('claim'), ...change, epoch: countSchema, byHand: z.literal(true).exactOptional() }),
  z.strictObject({ kind: z.literal('exclude'), ...change, site: nameSchema, epoch: countSchema }),
  z.strictObject({ kind: z.literal('admit'), ...change, site: nameSchema, epoch: countSchema }),
  z.strictObject({ kind: z.literal('handover'), ...change, to: nameSchema, epoch: countSchema }),
  z.strictObject({ kind: z.literal('mode'), ...change, site: nameSchema, mode: modeSchema, epoch: countSchema }),
  z.strictObject({ kind: z.literal('add'), ...change, site: nameSchema, mode: modeSchema, epoch: countSchema }),
  z.strictObject({ kind: z.literal('remove'), ...change, site: nameSchema, epoch: countSchema }),
  z.strictObject({ kind: z.literal('resign'), ...change }),
  z.strictObject({ kind: z.literal('force'), ...change, site: nameSchema, epoch: countSchema }),
  z.strictObject({ kind: z.literal('delete'), ...change, groupId: idSchema, force: z.literal(true).exactOptional() }),
  z.strictObject({ kind: z.literal('read'), ...request }),
  z.strictObject({ kind: z.literal('prove'), ...request }),
  z.strictObject({
    kind: z.literal('report'),
    ...request,
    instance: idSchema,
    groupId: idSchema,
    copies: copiesSchema,
    round: countSchema,
    report: reportSchema,
  }),
]);

const view = {
  group: nameSchema,
  groupId: idSchema,
  instance: idSchema,
  revision: countSchema,
  epoch: countSchema,
  primary: nameSchema.nullable(),
  copies: z
    .array(z.strictObject({ site: nameSchema, mode: modeSchema, flag: z.boolean() }))
    .min(1)
    .max(limits.groupSitesMax)
    .refine(distinct, 'each copy is at a site of its own'),
};

const viewSchema: z.ZodType<WitnessView> = z.object(view);
const reasonSchema = z.enum(REFUSAL_REASONS);

/** An answer of the witness, as a site reads it. What a newer witness adds is passed over: the witness is upgraded first. */
export const answerSchema: z.ZodType<WitnessAnswer> = z.discriminatedUnion('outcome', [
  z.object({ outcome: z.literal('done'), view: viewSchema, repeated: z.literal(true).exactOptional() }),
  z.object({
    outcome: z.literal('refused'),
    reason: reasonSchema,
    text: z.string(),
    view: viewSchema.nullable(),
    repeated: z.literal(true).exactOptional(),
    instance: idSchema.exactOptional(),
    seeding: z.object({ round: countSchema, missing: z.array(nameSchema).max(limits.groupSitesMax) }).exactOptional(),
    deleted: z.object({ groupId: idSchema }).exactOptional(),
  }),
]);

/** The state of a group as it is stored. */
export const stateSchema: z.ZodType<WitnessState> = z.strictObject({
  ...view,
  writes: countSchema.min(1),
  first: nameSchema,
  seeded: z.boolean(),
  seeding: z.strictObject({ round: countSchema, reports: z.array(heardSchema).max(limits.groupSitesMax) }).exactOptional(),
  deleted: z.literal(true).exactOptional(),
  requests: z
    .array(
      z.strictObject({
        id: idSchema,
        content: z.string(),
        refused: reasonSchema.nullable(),
        revision: countSchema,
        epoch: countSchema,
        primary: nameSchema.nullable(),
        copies: z.array(z.tuple([nameSchema, modeSchema, z.boolean()])).max(limits.groupSitesMax),
      }),
    )
    .max(limits.witnessRequestsMax),
});

/** Faults of a value in one line: each with its place. */
export function faultsOf(error: z.ZodError): string {
  return error.issues.map((issue) => `${issue.path.length === 0 ? 'the value' : issue.path.join('.')}: ${issue.message}`).join('; ');
}

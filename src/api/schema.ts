// What the control API says, as schemas: the contract of the API and of `--json`. Fields are only ever added; a client ignores what it does not
// know. The compiler checks that the schemas and the core's own types say the same. Described in docs/reference/api.md and cli-json.md.

import * as z from 'zod';

import type { WitnessView } from '../core/arbiter/witness-state.ts';
import { limits } from '../core/base/limits.ts';
import type { SiteName } from '../core/base/units.ts';
import type {
  CoverageStatus,
  Decision,
  DecisionInputs,
  OrderOutcome,
  PauseOrder,
  PeerStatus,
  ResyncStatus,
  Role,
  SiteCounter,
  SiteStatus,
  SwitchoverOrder,
  Waiting,
} from '../core/site/contract.ts';
import { SITE_COUNTERS } from '../core/site/contract.ts';
import { pointSchema } from './points.ts';
import { verifyProgressSchema } from './verify.ts';

export type { CoverageStatus, OrderOutcome, PeerStatus, ResyncStatus, SiteStatus, Waiting, WitnessView };

/** Name of a group, volume or site. */
export const nameSchema: z.ZodString = z
  .string()
  .regex(new RegExp(`^[a-z0-9-]{1,${limits.nameCharsMax}}$`), `1 to ${limits.nameCharsMax} of a-z, 0-9 and '-'`);

const count = z.int().min(0);
const millis = z.number();

/** All roles: the compiler asks for each of them, and for no other. */
const roles: Readonly<Record<Role, true>> = {
  starting: true,
  absent: true,
  standby: true,
  claiming: true,
  primary: true,
  joining: true,
  mirror: true,
  failed: true,
  stopped: true,
};
const roleSchema: z.ZodType<Role> = z.enum(Object.keys(roles) as [Role, ...Role[]]);
const modeSchema = z.enum(['sync', 'async']);

const peerSchema: z.ZodType<PeerStatus> = z.object({
  site: nameSchema,
  mode: modeSchema,
  connected: z.boolean(),
  role: roleSchema.nullable(),
  epoch: count.nullable(),
  attached: z.enum(['no', 'joining', 'copying', 'following']),
  flag: z.enum(['true', 'maybe', 'false']).nullable(),
  received: count.nullable(),
  durable: count.nullable(),
  destaged: count.nullable(),
  lagRecords: z.number().nullable(),
  lagBytes: z.number().nullable(),
  lagSeconds: z.number().nullable(),
  leaseMillis: millis.nullable(),
  copiedBytes: count.nullable(),
  copyTotalBytes: count.nullable(),
  level: z
    .object({
      is: z.enum(['equal', 'giving', 'taking', 'ahead', 'behind', 'apart']),
      theirs: count.nullable(),
      leftRecords: count.nullable(),
      why: z.string().nullable(),
    })
    .nullable(),
  resync: z
    .object({
      rung: z.enum(['delta', 'bitmap', 'scan', 'copy']),
      algorithm: z.enum(['crc32', 'md5', 'sha1', 'sha256']).nullable().default(null),
      why: z.string(),
      doneBytes: count,
      totalBytes: count,
      sentBytes: count,
      ending: z.boolean(),
      secondsLeft: z.number().nullable(),
    })
    .nullable(),
  lastError: z.string().nullable(),
  traffic: z
    .object({ rawBytes: count, sentBytes: count, foldedFrames: count.default(0) })
    .default({ rawBytes: 0, sentBytes: 0, foldedFrames: 0 }),
  folding: z.object({ frames: count, records: count, savedBytes: count }).default({ frames: 0, records: 0, savedBytes: 0 }),
  streams: z
    .object({ wanted: count, open: count, waitingBytes: count, aheadBytes: count, early: count, lost: count, again: count })
    .nullable()
    .default(null),
  paused: z.boolean().default(false),
  paceBytesPerSecond: z.number().nullable().default(null),
});

const coverageSchema: z.ZodType<CoverageStatus> = z.object({
  from: nameSchema,
  to: nameSchema,
  state: z.enum(['ready', 'preparing', 'not-ready']),
  why: z.string().nullable(),
  slackBytes: count.nullable(),
  slackRecords: count.nullable(),
  slackSeconds: z.number().nullable(),
});

/** What the witness says of a group: GET /v1/groups/GROUP there. */
export const witnessViewSchema: z.ZodType<WitnessView> = z.object({
  group: nameSchema,
  groupId: z.string(),
  instance: z.string(),
  revision: count,
  epoch: count,
  primary: nameSchema.nullable(),
  copies: z.array(z.object({ site: nameSchema, mode: modeSchema, flag: z.boolean() })),
});

const countersSchema = z.object(Object.fromEntries(SITE_COUNTERS.map((counter) => [counter, count])) as Record<SiteCounter, z.ZodInt>);

/** What a site says of a group. */
const siteStatusSchema: z.ZodType<SiteStatus> = z.object({
  group: nameSchema,
  site: nameSchema,
  role: roleSchema,
  serving: z.boolean(),
  protection: z.enum(['mirrored', 'solo', 'changing']).nullable(),
  epoch: count,
  knownPrimary: nameSchema.nullable(),
  marks: z.object({ oldest: count, destaged: count, committed: count, durable: count, received: count }).nullable(),
  consistent: z.boolean(),
  unclean: z.boolean(),
  sidefileBytes: count,
  sidefileCapacityBytes: count,
  sidefileFullSeconds: z.number().nullable(),
  sidefileSetAsideBytes: count.nullable(),
  sidefileIn: z.enum(['disk', 'memory']).default('disk'),
  witness: z.object({
    reachable: z.boolean().nullable(),
    view: witnessViewSchema.nullable(),
    ageMillis: millis.nullable(),
    provedAgeMillis: millis.nullable(),
    trouble: z.object({ cause: z.string(), next: z.string() }).nullable(),
  }),
  peers: z.array(peerSchema),
  coverage: z.array(coverageSchema),
  writers: z
    .object({ state: z.enum(['free', 'slowed', 'stopped']), for: nameSchema.nullable(), bytesPerSecond: count.nullable() })
    .nullable(),
  // Daemons of the release before do not say.
  agreement: z
    .object({ mayGoWithout: nameSchema.nullable(), wentWithout: nameSchema.nullable(), leftTo: nameSchema.nullable() })
    .nullable()
    .default(null),
  waiting: z.array(z.object({ what: z.string(), cause: z.string(), deadlineMillis: millis.nullable(), next: z.string() })),
  heldRequests: count,
  volumes: z.array(z.object({ name: nameSchema, sizeBytes: count, heldBytes: count.nullable().default(null) })),
  // Daemons of the release before do not say.
  points: z.array(pointSchema).default([]),
  counters: countersSchema,
  failure: z.string().nullable(),
  verify: verifyProgressSchema,
});

/** What a daemon says of its certificate. */
export interface CertificateStatus {
  /** Whom it speaks for, for people. */
  readonly identity: string;
  /** RFC 3339. */
  readonly expiresAt: string;
  readonly daysLeft: number;
  /** What should be done about it; null while there is nothing to do. */
  readonly warning: string | null;
}

/** Answer to GET /v1/status: a daemon and all its groups, sorted by name. */
export interface DaemonStatus {
  readonly site: string;
  /** Version of the program. */
  readonly version: string;
  /** The certificate of this site; null where links are not encrypted. */
  readonly tls: CertificateStatus | null;
  readonly groups: readonly SiteStatus[];
  /** As primary: copies that would lose more than is allowed. A daemon of before does not tell it. */
  readonly rpoBreaches?: readonly RpoBreach[];
}

/** A copy that would lose more than the configuration allows, if it had to serve now. */
export interface RpoBreach {
  readonly group: string;
  readonly peer: string;
  /** Seconds of writes; null: it was never known. */
  readonly seconds: number | null;
  /** Whether that is the most that it can be, and not a measurement. */
  readonly bound: boolean;
  readonly targetSeconds: number;
}

/** Schema of DaemonStatus. */
export const daemonStatusSchema: z.ZodType<DaemonStatus> = z.object({
  site: nameSchema,
  version: z.string(),
  tls: z.object({ identity: z.string(), expiresAt: z.string(), daysLeft: z.int(), warning: z.string().nullable() }).nullable(),
  groups: z.array(siteStatusSchema),
  rpoBreaches: z
    .array(z.object({ group: nameSchema, peer: nameSchema, seconds: z.number().nullable(), bound: z.boolean(), targetSeconds: z.number() }))
    .exactOptional(),
});

/** Answer to GET /v1/health. */
export interface Health {
  readonly site: string;
  /** false when the copy of some group has failed here. */
  readonly healthy: boolean;
  /** Groups whose copy has failed here, with the reason. */
  readonly failed: readonly { readonly group: string; readonly reason: string }[];
}

/** Schema of Health. */
export const healthSchema: z.ZodType<Health> = z.object({
  site: nameSchema,
  healthy: z.boolean(),
  failed: z.array(z.object({ group: nameSchema, reason: z.string() })),
});

/** One event: docs/reference/events.md. A kind that this version does not know is an event all the same. */
export interface EventLine {
  readonly id: string;
  readonly time: string;
  readonly site: string;
  readonly kind: string;
  readonly group: string | null;
  readonly peer: string | null;
  readonly text: string;
  readonly facts: Readonly<Record<string, unknown>>;
}

/** Schema of EventLine. */
export const eventSchema: z.ZodType<EventLine> = z.object({
  id: z.string(),
  time: z.string(),
  site: z.string(),
  kind: z.string(),
  group: z.string().nullable(),
  peer: z.string().nullable(),
  text: z.string(),
  facts: z.record(z.string(), z.unknown()),
});

/** Answer to GET /v1/events. */
export const eventListSchema: z.ZodType<{ readonly events: readonly EventLine[] }> = z.object({ events: z.array(eventSchema) });

/** What a reload has found: POST /v1/reload. */
export interface ReloadLine {
  readonly file: string;
  readonly changes: readonly ChangedKey[];
  /** What was read earlier and waits for a restart still; a daemon of before does not tell it. */
  readonly pending?: readonly ChangedKey[];
  /** What came of reading the certificates again; null without `[tls]`. A daemon of before does not tell it. */
  readonly certificates?: { readonly sound: boolean; readonly text: string } | null;
}

/** One key of the configuration that has changed; values as JSON. */
export interface ChangedKey {
  readonly key: string;
  readonly was: string | null;
  readonly now: string | null;
  readonly takes: 'now' | 'agreed' | 'restart' | 'elsewhere';
}

const changedKeySchema: z.ZodType<ChangedKey> = z.object({
  key: z.string(),
  was: z.string().nullable(),
  now: z.string().nullable(),
  takes: z.enum(['now', 'agreed', 'restart', 'elsewhere']),
});

/** Schema of ReloadLine. */
export const reloadSchema: z.ZodType<ReloadLine> = z.object({
  file: z.string(),
  changes: z.array(changedKeySchema),
  pending: z.array(changedKeySchema).exactOptional(),
  certificates: z.object({ sound: z.boolean(), text: z.string() }).nullable().exactOptional(),
});

const decisionInputsSchema: z.ZodType<DecisionInputs> = z.object({
  role: z.string(),
  epoch: count,
  received: count.nullable(),
  durable: count.nullable(),
  committed: count.nullable(),
  consistent: z.boolean(),
  unclean: z.boolean(),
  promiseMillis: millis,
  witness: z
    .object({ revision: count, epoch: count, primary: nameSchema.nullable(), flags: z.record(z.string(), z.boolean()), ageMillis: millis })
    .nullable(),
  peers: z.array(
    z.object({
      site: nameSchema,
      connected: z.boolean(),
      flag: z.string().nullable(),
      received: count.nullable(),
      leaseMillis: millis.nullable(),
    }),
  ),
});

/** One decision about who serves, as it is kept on disk too. */
export const decisionSchema: z.ZodType<Decision> = z.object({
  atMillis: z.number(),
  event: z.string(),
  rule: z.string(),
  text: z.string(),
  inputs: decisionInputsSchema,
});

/** Answer to GET /v1/groups/GROUP/explain. */
export interface Explanation {
  readonly site: string;
  readonly group: string;
  /** Why the site may or may not serve now. */
  readonly sentences: readonly string[];
  /** Oldest first. */
  readonly decisions: readonly Decision[];
}

/** Schema of Explanation. */
export const explanationSchema: z.ZodType<Explanation> = z.object({
  site: nameSchema,
  group: nameSchema,
  sentences: z.array(z.string()),
  decisions: z.array(decisionSchema),
});

/** What became of an order: POST /v1/groups/GROUP/create and .../promote. */
export const outcomeSchema: z.ZodType<OrderOutcome> = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('done'), text: z.string() }),
  z.object({ kind: z.literal('refused'), text: z.string(), remedy: z.string() }),
]);

/** A site's copy that is to be compared with the primary's, and how. */
export interface ResyncOrder {
  readonly site: SiteName;
  readonly algorithm: 'crc32' | 'md5' | 'sha1' | 'sha256';
  readonly compare: 'primary' | 'mirror';
  /** Compare everything again by sha256 once it has ended. */
  readonly confirm: boolean;
}
/** Body of an order to compare a copy. */
export const resyncSchema: z.ZodType<ResyncOrder> = z.strictObject({
  site: nameSchema,
  algorithm: z.enum(['crc32', 'md5', 'sha1', 'sha256']),
  compare: z.enum(['primary', 'mirror']),
  confirm: z.boolean().default(false),
});

/** Body of POST /v1/groups/GROUP/pause. */
export const pauseSchema: z.ZodType<PauseOrder> = z.strictObject({ site: nameSchema, force: z.boolean().default(false) });

/** Body of POST /v1/groups/GROUP/resume. */
export const resumeSchema: z.ZodType<{ site: SiteName }> = z.strictObject({ site: nameSchema });

/** Body of POST /v1/groups/GROUP/promote. */
export const promoteSchema: z.ZodType<{ force: boolean }> = z.strictObject({ force: z.boolean() });

/** Body of POST /v1/groups/GROUP/switchover. */
export const switchoverSchema: z.ZodType<SwitchoverOrder> = z.strictObject({ to: nameSchema.nullable(), dryRun: z.boolean() });

/** Body of an order without choices. */
export const emptySchema: z.ZodType<Record<string, never>> = z.strictObject({});

/** An answer that is not 2xx or 409: a code of the error table, and its sentence. */
export interface ApiError {
  readonly error: { readonly code: string; readonly text: string };
}

/** Schema of ApiError. */
export const apiErrorSchema: z.ZodType<ApiError> = z.object({ error: z.object({ code: z.string(), text: z.string() }) });

/** Faults of a value in one line: each with its place. */
export function faultsOf(error: z.ZodError): string {
  return error.issues.map((issue) => `${issue.path.length === 0 ? 'the body' : issue.path.join('.')}: ${issue.message}`).join('; ');
}

// What Prometheus reads, computed at the moment of the question from the same status that `tercet status` shows. docs/reference/metrics.md is
// written from the table below.

import { SITE_COUNTERS } from '../core/site/contract.ts';
import type { CoverageStatus, PeerStatus, SiteStatus } from '../api/schema.ts';
import type { PeerRisk } from './peer-watch.ts';

/** What the metrics are computed from. */
export interface MetricsGround {
  readonly site: string;
  readonly version: string;
  readonly startedAt: number;
  /** When the certificate stops being valid, in seconds since 1970; null where links are not encrypted. */
  readonly certificateEndsAt: number | null;
  readonly groups: readonly { readonly status: SiteStatus; readonly risks: readonly PeerRisk[]; readonly rpoSeconds: number }[];
  readonly events: ReadonlyMap<string, number>;
  readonly hooks: Readonly<Record<string, number>>;
  readonly process: { readonly residentBytes: number; readonly cpuSeconds: number; readonly loopDelaySecondsMax: number };
}

type Labels = Readonly<Record<string, string>>;
type Value = readonly [Labels, number];

/** One family of metrics. */
export interface Metric {
  readonly name: string;
  readonly type: 'gauge' | 'counter';
  readonly help: string;
  /** Names of its labels. */
  readonly labels: readonly string[];
  readonly values: (ground: MetricsGround) => readonly Value[];
}

const flag = (value: boolean): number => (value ? 1 : 0);

/** A metric with one value for each group; null leaves the group out. */
function perGroup(name: string, help: string, value: (status: SiteStatus) => number | null): Metric {
  const values = ({ groups }: MetricsGround): Value[] =>
    groups.flatMap(({ status }) => {
      const found = value(status);
      return found === null ? [] : [[{ group: status.group }, found] as const];
    });
  return { name, type: 'gauge', help, labels: ['group'], values };
}

/** A metric with one value for each peer of each group; null leaves the peer out: what is not known is not told. */
function perPeer(name: string, help: string, value: (peer: PeerStatus) => number | null): Metric {
  const values = ({ groups }: MetricsGround): Value[] =>
    groups.flatMap(({ status }) =>
      status.peers.flatMap((peer) => {
        const found = value(peer);
        return found === null ? [] : [[{ group: status.group, peer: peer.site }, found] as const];
      }),
    );
  return { name, type: 'gauge', help, labels: ['group', 'peer'], values };
}

/** A metric with one value for each pair of copies; null leaves the pair out. */
function perPair(name: string, help: string, value: (pair: CoverageStatus) => number | null): Metric {
  const values = ({ groups }: MetricsGround): Value[] =>
    groups.flatMap(({ status: { group, coverage } }) =>
      coverage.flatMap((pair) => {
        const found = value(pair);
        return found === null ? [] : [[{ group, from: pair.from, to: pair.to }, found] as const];
      }),
    );
  return { name, type: 'gauge', help, labels: ['group', 'from', 'to'], values };
}

function perRisk(name: string, help: string, value: (risk: PeerRisk) => number | null): Metric {
  const values = ({ groups }: MetricsGround): Value[] =>
    groups.flatMap(({ status, risks }) =>
      risks.flatMap((risk) => {
        const found = value(risk);
        return found === null ? [] : [[{ group: status.group, peer: risk.peer }, found] as const];
      }),
    );
  return { name, type: 'gauge', help, labels: ['group', 'peer'], values };
}

/** writtenBytes: tercet_written_bytes_total. */
function counterName(counter: string): string {
  return `tercet_${counter.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}_total`;
}

const counters: readonly Metric[] = SITE_COUNTERS.map((counter) => ({
  name: counterName(counter),
  type: 'counter',
  help: `The counter ${counter} of the status, since the daemon started.`,
  labels: ['group'],
  values: ({ groups }) => groups.map(({ status }) => [{ group: status.group }, status.counters[counter]] as const),
}));

const POINT_STATES = ['preparing', 'ready', 'lost'] as const;
const MARKS = ['oldest', 'destaged', 'committed', 'durable', 'received'] as const;

const states: readonly Metric[] = [
  {
    name: 'tercet_role',
    type: 'gauge',
    help: '1, with the role that the site has in the group now as a label.',
    labels: ['group', 'role'],
    values: ({ groups }) => groups.map(({ status }) => [{ group: status.group, role: status.role }, 1] as const),
  },
  perGroup('tercet_serving', 'Whether hosts may be answered here at this moment.', ({ serving }) => flag(serving)),
  perGroup('tercet_mirrored', 'At a site that serves: whether each answered write is on a second site.', ({ protection }) =>
    protection === null ? null : flag(protection === 'mirrored'),
  ),
  perGroup('tercet_epoch', 'The newest epoch that this copy knows.', ({ epoch }) => epoch),
  perGroup('tercet_consistent', 'Whether the copy is a moment of the volume and not a mixture.', ({ consistent }) => flag(consistent)),
  perGroup(
    'tercet_unclean',
    'Whether the copy came back from a loss of power (with its sidefile in memory: of the process) and has not caught up since.',
    ({ unclean }) => flag(unclean),
  ),
  perGroup('tercet_failed', 'Whether the copy has failed.', ({ role, failure }) => flag(role === 'failed' || failure !== null)),
  perGroup('tercet_waits', 'How many things wait; `tercet status` names them.', ({ waiting }) => waiting.length),
  perGroup('tercet_held_requests', 'Requests of hosts that have no answer yet.', ({ heldRequests }) => heldRequests),
  {
    name: 'tercet_mark_seq',
    type: 'gauge',
    help: 'Sequence numbers of the copy, by mark.',
    labels: ['group', 'mark'],
    values: ({ groups }) =>
      groups.flatMap(({ status: { group, marks } }) =>
        marks === null ? [] : MARKS.map((mark) => [{ group, mark }, marks[mark]] as const),
      ),
  },
  perGroup('tercet_sidefile_bytes', 'What the sidefile takes.', ({ sidefileBytes }) => sidefileBytes),
  perGroup('tercet_sidefile_capacity_bytes', 'What the sidefile may take.', ({ sidefileCapacityBytes }) => sidefileCapacityBytes),
  perGroup(
    'tercet_sidefile_set_aside_bytes',
    'Disk space that the sidefile has or that is set aside for it; missing where none is set aside.',
    ({ sidefileSetAsideBytes }) => sidefileSetAsideBytes,
  ),
  {
    name: 'tercet_points',
    type: 'gauge',
    help: 'Points of the copy, by state: preparing, ready, or lost (given up, and neither removed nor made anew since).',
    labels: ['group', 'state'],
    values: ({ groups }) =>
      groups.flatMap(({ status: { group, points } }) =>
        POINT_STATES.map((state) => [{ group, state }, points.filter((point) => point.state === state).length] as const),
      ),
  },
  perGroup('tercet_points_pinned_bytes', 'Bytes of records that the sidefile keeps because a point stands before them.', ({ points }) =>
    Math.max(0, ...points.map(({ pinnedBytes }) => pinnedBytes)),
  ),
  {
    name: 'tercet_writers',
    type: 'gauge',
    help: 'At the primary: 1, with a label that says whether hosts write freely, are slowed, or stopped for a copy that lags.',
    labels: ['group', 'state'],
    values: ({ groups }) =>
      groups.flatMap(({ status: { group, writers } }) => (writers === null ? [] : [[{ group, state: writers.state }, 1] as const])),
  },
  perGroup(
    'tercet_sidefile_full_seconds',
    'When the sidefile will be full, if it goes on as in the last seconds; missing while it does not grow.',
    ({ sidefileFullSeconds }) => sidefileFullSeconds,
  ),
  {
    name: 'tercet_coverage',
    type: 'gauge',
    help: '1, with a label that says whether the sidefile of `from` can bring `to` up to date by delta: ready, preparing or not-ready.',
    labels: ['group', 'from', 'to', 'state'],
    values: ({ groups }) =>
      groups.flatMap(({ status: { group, coverage } }) => coverage.map(({ from, to, state }) => [{ group, from, to, state }, 1] as const)),
  },
  perPair('tercet_coverage_slack_bytes', 'What can be written until it no longer can, if nothing reaches `to`.', (pair) => pair.slackBytes),
  perPair('tercet_coverage_slack_records', 'The same in records, at the present rate.', (pair) => pair.slackRecords),
  perPair('tercet_coverage_slack_seconds', 'The same in seconds, at the present rate.', (pair) => pair.slackSeconds),
  perGroup('tercet_witness_reachable', 'Whether the witness answers; missing until it has been asked.', ({ witness }) =>
    witness.reachable === null ? null : flag(witness.reachable),
  ),
  perGroup(
    'tercet_witness_believed',
    'Whether the witness that answers is believed: 0 while it was replaced, put back or is another.',
    ({ witness }) => (witness.reachable === true ? flag(witness.trouble === null) : null),
  ),
  perGroup(
    'tercet_witness_answer_age_seconds',
    'How long ago the question was asked to which the newest believed answer belongs.',
    ({ witness }) => (witness.ageMillis === null ? null : witness.ageMillis / 1000),
  ),
  perGroup(
    'tercet_witness_proved_age_seconds',
    'How long ago the witness last answered what it had first written to its disk: a site has it do so once a minute. Missing until then.',
    ({ witness }) => (witness.provedAgeMillis === null ? null : witness.provedAgeMillis / 1000),
  ),
  {
    name: 'tercet_volume_bytes',
    type: 'gauge',
    help: 'Size of each volume.',
    labels: ['group', 'volume'],
    values: ({ groups }) =>
      groups.flatMap(({ status }) =>
        status.volumes.map(({ name, sizeBytes }) => [{ group: status.group, volume: name }, sizeBytes] as const),
      ),
  },
];

/** A metric of the verify that is under way, or of the last one; missing where there was none. */
function perVerify(name: string, help: string, value: (verify: SiteStatus['verify']) => number | null): Metric {
  return perGroup(name, help, ({ verify }) => (verify.beganMillis === null ? null : value(verify)));
}

const verifies: readonly Metric[] = [
  perVerify('tercet_verify_running', 'At the primary: whether copies are being compared.', ({ running }) => flag(running)),
  perVerify('tercet_verify_passed_bytes', 'Of the volumes, what the verify under way has behind it.', ({ passedBytes }) => passedBytes),
  perVerify('tercet_verify_total_bytes', 'Of the volumes, what a verify goes through.', ({ totalBytes }) => totalBytes),
  perVerify(
    'tercet_verify_rate_bytes',
    'Bytes compared in a second, since the verify began or went on.',
    ({ bytesPerSecond }) => bytesPerSecond,
  ),
  perVerify('tercet_verify_left_seconds', 'When the verify under way will have ended at that rate.', ({ etaSeconds }) => etaSeconds),
  perVerify(
    'tercet_verify_oldest_seconds',
    'No block was compared longer ago than this; missing before the first verify has ended.',
    ({ oldestUnverifiedSeconds }) => oldestUnverifiedSeconds,
  ),
  perVerify(
    'tercet_verify_differing_blocks',
    'Blocks of copies that the verify has found to differ.',
    ({ differingBlocks }) => differingBlocks,
  ),
  perVerify(
    'tercet_verify_damaged_records',
    'Places in sidefiles that the verify has found damaged.',
    ({ damagedRecords }) => damagedRecords,
  ),
  perVerify('tercet_verify_unmended', 'How many of both are as they were.', ({ unmended }) => unmended),
];

const peers: readonly Metric[] = [
  perPeer('tercet_peer_connected', 'Whether a connection to the peer stands.', ({ connected }) => flag(connected)),
  perPeer('tercet_peer_following', 'At the primary: whether the peer follows.', ({ attached, flag: known }) =>
    known === null ? null : flag(attached === 'following'),
  ),
  {
    ...perPeer(
      'tercet_peer_raw_bytes_total',
      'Bytes of records and images that went to the peer, before they were packed.',
      ({ traffic }) => traffic.rawBytes,
    ),
    type: 'counter',
  },
  {
    ...perPeer('tercet_peer_sent_bytes_total', 'The same as they went.', ({ traffic }) => traffic.sentBytes),
    type: 'counter',
  },
  perPeer(
    'tercet_peer_streams',
    'Connections of the link to the peer that carry records and images; missing where it is one connection.',
    ({ streams }) => streams?.open ?? null,
  ),
  perPeer(
    'tercet_peer_stream_waiting_bytes',
    'Bytes that have come from the peer over several streams and wait for a message before them; missing where it is one connection.',
    ({ streams }) => streams?.waitingBytes ?? null,
  ),
  {
    ...perPeer(
      'tercet_peer_streams_lost_total',
      'Streams to the peer that ended before their link did; missing where it is one connection.',
      ({ streams }) => streams?.lost ?? null,
    ),
    type: 'counter',
  },
  {
    ...perPeer(
      'tercet_peer_folded_records_total',
      'Records that went to the peer without their payloads, since later ones of the same step cover them.',
      ({ folding }) => folding.records,
    ),
    type: 'counter',
  },
  {
    ...perPeer(
      'tercet_peer_folded_bytes_total',
      'Bytes that folding has saved on the way to the peer.',
      ({ folding }) => folding.savedBytes,
    ),
    type: 'counter',
  },
  perPeer('tercet_peer_paused', 'At the primary: whether the peer is paused by order.', ({ paused, flag: known }) =>
    known === null ? null : flag(paused),
  ),
  perPeer(
    'tercet_peer_pace_bytes',
    'At the primary: what the peer is sent at most in a second (`link_mib_per_second`); missing without a bound.',
    ({ paceBytesPerSecond }) => paceBytesPerSecond,
  ),
  {
    name: 'tercet_peer_flag',
    type: 'gauge',
    help: "At the primary: 1, with the peer's flag as a label: true, maybe or false.",
    labels: ['group', 'peer', 'flag'],
    values: ({ groups }) =>
      groups.flatMap(({ status }) =>
        status.peers.flatMap((peer) =>
          peer.flag === null ? [] : [[{ group: status.group, peer: peer.site, flag: peer.flag }, 1] as const],
        ),
      ),
  },
  perPeer(
    'tercet_peer_lag_records',
    'At the primary: records that the peer lacks; missing while that is not known, and during a resync by anything but delta.',
    ({ lagRecords }) => lagRecords,
  ),
  perPeer('tercet_peer_lag_bytes', 'At the primary: bytes that the peer lacks.', ({ lagBytes }) => lagBytes),
  perPeer('tercet_peer_lag_seconds', 'At the primary: age of the oldest record that the peer lacks.', ({ lagSeconds }) => lagSeconds),
  perPeer('tercet_peer_lease_seconds', "At the primary: for how long the peer's promise still counts.", ({ leaseMillis }) =>
    leaseMillis === null ? null : leaseMillis / 1000,
  ),
  perPeer('tercet_peer_copied_bytes', 'During a whole copy to the peer: bytes done.', ({ copiedBytes }) => copiedBytes),
  perPeer('tercet_peer_copy_total_bytes', 'During a whole copy to the peer: bytes in all.', ({ copyTotalBytes }) => copyTotalBytes),
  {
    name: 'tercet_rpo_target_seconds',
    type: 'gauge',
    help: '`rpo_seconds` of the configuration; missing where it is 0.',
    labels: ['group'],
    values: ({ groups }) =>
      groups.flatMap(({ status, rpoSeconds }) => (rpoSeconds === 0 ? [] : [[{ group: status.group }, rpoSeconds] as const])),
  },
  perRisk(
    'tercet_rpo_seconds',
    'At the primary: seconds of writes that are lost at most if this peer has to serve now; missing while nothing is known.',
    ({ seconds }) => seconds,
  ),
  perRisk('tercet_rpo_breached', 'At the primary: whether that is more than the target.', ({ breached }) =>
    breached === null ? null : flag(breached),
  ),
];

const daemon: readonly Metric[] = [
  {
    name: 'tercet_info',
    type: 'gauge',
    help: '1, with the site and the version as labels.',
    labels: ['site', 'version'],
    values: (g) => [[{ site: g.site, version: g.version }, 1]],
  },
  {
    name: 'tercet_started_seconds',
    type: 'gauge',
    help: 'When the daemon started, in seconds since 1970.',
    labels: [],
    values: (g) => [[{}, g.startedAt]],
  },
  {
    name: 'tercet_certificate_ends_seconds',
    type: 'gauge',
    help: "When this site's certificate stops being valid, in seconds since 1970; left out where links are not encrypted.",
    labels: [],
    values: (g) => (g.certificateEndsAt === null ? [] : [[{}, g.certificateEndsAt]]),
  },
  {
    name: 'tercet_events_total',
    type: 'counter',
    help: 'Events since the daemon started, by kind: docs/reference/events.md.',
    labels: ['kind'],
    values: (g) => [...g.events].map(([kind, count]) => [{ kind }, count] as const),
  },
  {
    name: 'tercet_hooks_total',
    type: 'counter',
    help: 'Calls of hooks since the daemon started, by outcome: done, failed, or dropped because too many waited.',
    labels: ['outcome'],
    values: (g) => Object.entries(g.hooks).map(([outcome, count]) => [{ outcome }, count] as const),
  },
  {
    name: 'tercet_resident_bytes',
    type: 'gauge',
    help: 'Memory of the process.',
    labels: [],
    values: (g) => [[{}, g.process.residentBytes]],
  },
  {
    name: 'tercet_cpu_seconds_total',
    type: 'counter',
    help: 'Processor time of the process.',
    labels: [],
    values: (g) => [[{}, g.process.cpuSeconds]],
  },
  {
    name: 'tercet_loop_delay_seconds_max',
    type: 'gauge',
    help: 'The longest time since the last question for which the event loop was held up.',
    labels: [],
    values: (g) => [[{}, g.process.loopDelaySecondsMax]],
  },
];

/** All metrics, in the order in which they are told. */
export const METRICS: readonly Metric[] = [...daemon, ...states, ...peers, ...verifies, ...counters];

/** The text form of Prometheus, version 0.0.4. */
export function metricsText(ground: MetricsGround): string {
  const lines: string[] = [];
  for (const metric of METRICS) {
    const values = metric.values(ground);
    if (values.length === 0) continue;
    lines.push(`# HELP ${metric.name} ${metric.help.replaceAll('\\', '\\\\')}`, `# TYPE ${metric.name} ${metric.type}`);
    for (const [labels, value] of values) lines.push(`${metric.name}${labelsText(labels)} ${value}`);
  }
  return `${lines.join('\n')}\n`;
}

function labelsText(labels: Labels): string {
  const parts = Object.entries(labels).map(
    ([name, value]) => `${name}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`,
  );
  return parts.length === 0 ? '' : `{${parts.join(',')}}`;
}

// Numbers and states as people read them. What is not known is a dash, never a zero.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** What stands for a value that is not known. */
export const UNKNOWN = '–';

/**
 * @param {number | null | undefined} bytes
 * @returns {string}
 */
export function bytesText(bytes) {
  if (bytes === null || bytes === undefined) return UNKNOWN;
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/**
 * @param {number | null | undefined} seconds
 * @returns {string}
 */
export function secondsText(seconds) {
  if (seconds === null || seconds === undefined) return UNKNOWN;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/**
 * @param {number | null | undefined} count
 * @param {string} noun
 */
export function countText(count, noun) {
  return count === null || count === undefined ? UNKNOWN : `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/**
 * The time of day of a moment.
 * @param {Date} time
 */
export function clockText(time) {
  return time.toTimeString().slice(0, 8);
}

/** @import { PeerStatus } from '../api/schema.ts' */

/**
 * How far a peer is behind, or why that is not known.
 * @param {PeerStatus} peer
 */
export function behindText(peer) {
  if (!peer.connected) return 'not connected';
  if (peer.attached === 'copying') return resyncText(peer);
  if (peer.attached !== 'following') return peer.attached === 'no' ? 'does not follow' : peer.attached;
  if (peer.lagRecords === null) return 'lag not known here';
  if (peer.lagRecords === 0) return 'in step';
  const delta = peer.resync === null ? '' : `: ${resyncText(peer)}`;
  return `${countText(peer.lagRecords, 'record')}, ${secondsText(peer.lagSeconds)} behind${delta}`;
}

/**
 * A resync in few words: rung, share, time left.
 * @param {PeerStatus} peer
 */
export function resyncText({ resync }) {
  if (resync === null) return 'copy';
  const { rung, doneBytes, totalBytes, ending, secondsLeft } = resync;
  const share = totalBytes === 0 ? '' : ` ${Math.min(100, Math.floor((100 * doneBytes) / totalBytes))} %`;
  const left = secondsLeft === null ? '' : `, ${secondsText(secondsLeft)} left`;
  return `${rung}${share}${ending ? ', sent' : left}`;
}
